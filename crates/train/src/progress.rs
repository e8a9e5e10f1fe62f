//! What a person sees while it trains: bars on a terminal, plain log lines elsewhere, nothing with `--quiet`.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::checkpoint::LossSums;
use crate::run_folder::Event;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// A bar.
    Bar,
    /// Log lines.
    Lines,
    /// Log records with a field for each number.
    Records,
}

impl Display {
    /// A bar where standard error is a terminal that shows text logs.
    pub fn choose(quiet: bool, json: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Records,
            (false, false) if std::io::stderr().is_terminal() => Self::Bar,
            _ => Self::Lines,
        }
    }

    /// Progress over `epochs` epochs of `steps` steps.
    pub fn epochs(self, epochs: usize, steps: usize) -> EpochBar {
        let bar = match self {
            Self::Lines | Self::Records => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            Self::Bar => ProgressBar::new((epochs * steps) as u64),
        };
        let style = "{prefix:>13} {bar:30.cyan/blue} {pos}/{len} steps  {elapsed} (eta {eta})  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_prefix("training");
        EpochBar { bar, steps, display: self, shown: self == Self::Bar }
    }
}

/// Progress of one run.
pub struct EpochBar {
    bar: ProgressBar,
    steps: usize,
    display: Display,
    shown: bool,
}

impl EpochBar {
    /// After `step` steps in all.
    pub fn step(&self, step: usize, sums: &LossSums) {
        if self.shown {
            self.bar.set_position(step as u64);
            self.bar.set_message(format!("loss {:.5}", sums.loss / sums.instances.max(1) as f64));
        }
    }

    /// After an epoch.
    pub fn epoch_done(&self, event: &Event, epochs: usize) {
        let metric = |name: &str| event.validation.as_ref().and_then(|v| v.get(name)?.as_f64());
        if self.shown {
            self.bar.set_position((event.epoch * self.steps) as u64);
            self.bar.set_prefix(format!("epoch {}/{epochs}", event.epoch));
        }
        let extra = match (metric("loss"), metric("f1_macro"), metric("map_macro")) {
            (Some(loss), Some(f1), map) => {
                let map = map.map(|m| format!(", mAP {m:.4}")).unwrap_or_default();
                format!("  validation: loss {loss:.5}, macro-F1 {f1:.4}{map}")
            }
            _ => String::new(),
        };
        let (epoch, loss, speed) = (event.epoch, event.loss, event.instances_per_second);
        let line = || format!("epoch {epoch}/{epochs}  loss {loss:.5}  {speed:.0} instances/s{extra}");
        match self.display {
            Display::Bar => self.bar.suspend(|| tracing::debug!("{}", line())),
            Display::Lines => tracing::info!("{}", line()),
            Display::Records => tracing::info!(epoch, loss, instances_per_second = speed, "{}", line()),
        }
    }

    /// At the end.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
