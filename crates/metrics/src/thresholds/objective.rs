//! What a threshold should maximise: an F measure, averaged over labels or over all decisions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Over what an F measure is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Mean of the labels' own values.
    Macro,
    /// All decisions of all labels together.
    Micro,
}

/// `f<β>_macro` or `f<β>_micro`, as `f1_macro`, `f2_micro`, `f0.5_macro`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Objective {
    /// β: how many times recall counts as much as precision.
    pub beta: f64,
    /// Over what.
    pub average: Average,
}

impl Default for Objective {
    fn default() -> Self {
        Self { beta: 1.0, average: Average::Macro }
    }
}

impl Objective {
    /// `(1 + β²) hits / (β² positives + predicted)`; 0 when that is 0/0.
    pub fn f(self, hits: f64, predicted: f64, positives: f64) -> f64 {
        let b2 = self.beta * self.beta;
        let below = b2 * positives + predicted;
        if below == 0.0 { 0.0 } else { (1.0 + b2) * hits / below }
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (measure, average) = text.strip_prefix('f')?.split_once('_')?;
            let beta: f64 = measure.parse().ok().filter(|b: &f64| b.is_finite() && *b > 0.0)?;
            let average = match average {
                "macro" => Average::Macro,
                "micro" => Average::Micro,
                _ => return None,
            };
            Some(Self { beta, average })
        };
        parse().ok_or_else(|| {
            format!("thresholds.objective = `{text}` is no F measure; expected f<β>_macro or f<β>_micro, as f1_macro")
        })
    }
}

impl TryFrom<String> for Objective {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let average = match self.average {
            Average::Macro => "macro",
            Average::Micro => "micro",
        };
        write!(f, "f{}_{average}", self.beta)
    }
}

impl From<Objective> for String {
    fn from(objective: Objective) -> Self {
        objective.to_string()
    }
}
