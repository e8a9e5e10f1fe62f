//! JSON lines: `{"features": {"name": value, …} | [value, …], "labels": ["name" | index, …]}`.

use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::formats::lines::Lines;
use crate::formats::{ReadOptions, Row, RowReader, Summary, names_of, sort_labels, sort_row};
use crate::{DataError, Names, Schema};

#[derive(Deserialize)]
struct Line {
    features: Features,
    #[serde(default)]
    labels: Vec<Label>,
}

/// In the order of the text, duplicates and all.
enum Features {
    Named(Vec<(String, Option<f32>)>),
    Listed(Vec<Option<f32>>),
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Features;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object or a list of numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Features, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Features::Named(pairs))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Features, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Features::Listed(values))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Index(u32),
    Name(String),
}

pub(super) struct Reader {
    lines: Lines,
    buffer: Vec<u8>,
    known: bool,
    unlabelled: bool,
    schema: Schema,
    features: Names,
    labels: Names,
    /// Whether features, and labels, have names: settled by the first that stands there.
    named_features: Option<bool>,
    named_labels: Option<bool>,
    unknown_features: usize,
}

impl Reader {
    pub(super) fn new(lines: Lines, options: &ReadOptions, known: Option<&Schema>) -> Self {
        let schema = known.cloned().unwrap_or_default();
        Self {
            lines,
            buffer: Vec::new(),
            known: known.is_some(),
            unlabelled: options.unlabelled,
            features: names_of(schema.feature_names.as_ref()),
            labels: names_of(schema.label_names.as_ref()),
            named_features: known.map(|k| k.feature_names.is_some()),
            named_labels: known.map(|k| k.label_names.is_some()),
            schema,
            unknown_features: 0,
        }
    }

    fn feature_row(&mut self, features: Features, row: &mut Row) -> Result<(), DataError> {
        let named = matches!(features, Features::Named(_));
        if *self.named_features.get_or_insert(named) != named {
            let message = "features are named in one place and listed in another of this data";
            return Err(self.lines.error(0, message));
        }
        match features {
            Features::Named(pairs) => {
                for (name, value) in pairs {
                    let index = match self.features.get(&name) {
                        Some(i) => i,
                        None if self.known => {
                            self.unknown_features += 1;
                            continue;
                        }
                        None => self.features.intern(&name),
                    };
                    self.push(row, index, value)?;
                }
                if let Err(index) = sort_row(&mut row.features) {
                    let name = &self.features.list()[index as usize];
                    return Err(self.lines.error(0, format!("feature `{name}` stands twice in this row")));
                }
            }
            Features::Listed(values) => {
                if self.known && values.len() > self.schema.features {
                    let message = format!("{} features, the training data has {}", values.len(), self.schema.features);
                    return Err(self.lines.error(0, message));
                }
                self.schema.features = self.schema.features.max(values.len());
                for (i, value) in values.into_iter().enumerate() {
                    self.push(row, i as u32, value)?;
                }
            }
        }
        Ok(())
    }

    fn push(&self, row: &mut Row, index: u32, value: Option<f32>) -> Result<(), DataError> {
        let value = value.unwrap_or(f32::NAN);
        if value.is_infinite() {
            return Err(self.lines.error(0, "a feature value is beyond what a 32-bit float holds"));
        }
        if value != 0.0 {
            row.features.push((index, value));
        }
        Ok(())
    }

    fn label_row(&mut self, labels: Vec<Label>, row: &mut Row) -> Result<(), DataError> {
        for label in labels {
            let named = matches!(label, Label::Name(_));
            if *self.named_labels.get_or_insert(named) != named {
                if self.unlabelled {
                    continue;
                }
                return Err(self.lines.error(0, "labels are names in one place and indices in another of this data"));
            }
            match label {
                Label::Name(name) if self.unlabelled => row.labels.extend(self.labels.get(&name)),
                Label::Name(name) => row.labels.push(self.labels.intern(&name)),
                Label::Index(i) if self.unlabelled => {
                    row.labels.extend(Some(i).filter(|&i| (i as usize) < self.schema.labels))
                }
                Label::Index(i) if self.known && i as usize >= self.schema.labels => {
                    let message =
                        format!("label index {i} is beyond the training data's {} labels", self.schema.labels);
                    return Err(self.lines.error(0, message));
                }
                Label::Index(u32::MAX) => return Err(self.lines.error(0, "the label index is too large")),
                Label::Index(i) => {
                    self.schema.labels = self.schema.labels.max(i as usize + 1);
                    row.labels.push(i);
                }
            }
        }
        sort_labels(&mut row.labels).map_err(|l| self.lines.error(0, format!("label {l} stands twice")))
    }
}

impl RowReader for Reader {
    fn next_row(&mut self, row: &mut Row) -> Result<bool, DataError> {
        row.features.clear();
        row.labels.clear();
        loop {
            if !self.lines.next(&mut self.buffer)? {
                return Ok(false);
            }
            if !self.buffer.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        let line: Line = serde_json::from_slice(&self.buffer).map_err(|e| {
            let text = e.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            let text = if text.contains("untagged enum Label") { "a label must be a name or an index" } else { text };
            self.lines.error(e.column().max(1) - 1, format!("{text}; expected {{\"features\": …, \"labels\": […]}}"))
        })?;
        self.feature_row(line.features, row)?;
        self.label_row(line.labels, row)?;
        Ok(true)
    }

    fn finish(&mut self) -> Result<Summary, DataError> {
        if self.named_features == Some(true) {
            self.schema.features = self.features.len();
            self.schema.feature_names = Some(Arc::new(self.features.clone()));
        }
        if self.named_labels == Some(true) {
            self.schema.labels = self.labels.len();
            self.schema.label_names = Some(Arc::new(self.labels.clone()));
        }
        if self.schema.labels == 0 && !self.unlabelled {
            return Err(self.lines.file_error("0 labels"));
        }
        let schema = self.schema.clone();
        Ok(Summary { schema, shift_down: false, unknown_features: self.unknown_features })
    }
}
