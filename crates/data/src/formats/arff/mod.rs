//! ARFF as multi-label collections use it: Mulan (an XML file names the label attributes) and MEKA (`-C n` in the
//! relation: the first n attributes, or the last for a negative n). Dense rows and sparse `{index value, …}` rows.

mod cells;
mod header;
mod labels;

use std::collections::HashMap;
use std::sync::Arc;

use crate::formats::lines::{Lines, decode, quote};
use crate::formats::{Nominal, ReadOptions, Row, RowReader, Summary, sort_labels};
use crate::{DataError, Names, Schema};

use cells::{Cells, unquote};
use header::{Attribute, Kind, read_header};
use labels::label_attributes;

/// Where a cell goes.
#[derive(Clone, Copy)]
enum Target {
    Feature(u32),
    /// First of the columns, one for each value.
    OneHot(u32),
    Label(u32),
    /// The known schema has no such feature.
    Ignored,
}

pub(super) struct Reader {
    lines: Lines,
    buffer: Vec<u8>,
    attributes: Vec<Attribute>,
    targets: Vec<Target>,
    /// Attributes whose value where a sparse row is silent is not 0, with that value's position.
    silent: Vec<usize>,
    schema: Schema,
    unknown_features: usize,
    unlabelled: bool,
    seen: Vec<bool>,
}

impl Reader {
    pub(super) fn new(mut lines: Lines, options: &ReadOptions, known: Option<&Schema>) -> Result<Self, DataError> {
        let (relation, attributes) = read_header(&mut lines)?;
        let labels = label_attributes(&lines, &relation, &attributes, options, known)?;
        let mut reader = Self {
            lines,
            buffer: Vec::new(),
            targets: Vec::with_capacity(attributes.len()),
            silent: Vec::new(),
            schema: Schema::default(),
            unknown_features: 0,
            unlabelled: options.unlabelled,
            seen: vec![false; attributes.len()],
            attributes,
        };
        reader.assign(&labels, options.nominal, known)?;
        Ok(reader)
    }

    /// Gives every attribute its columns.
    fn assign(
        &mut self,
        labels: &HashMap<String, u32>,
        nominal: Nominal,
        known: Option<&Schema>,
    ) -> Result<(), DataError> {
        let mut names = Names::default();
        let known_features = known.and_then(|k| k.feature_names.as_deref());
        for attribute in &self.attributes {
            if let Some(&label) = labels.get(&attribute.name) {
                self.targets.push(Target::Label(label));
                continue;
            }
            let columns: Vec<String> = match &attribute.kind {
                Kind::Other(kind) => {
                    let message =
                        format!("attribute `{}` is {kind}; features must be numeric or nominal", attribute.name);
                    return Err(self.lines.error_at(attribute.line, 0, message));
                }
                Kind::Nominal { values, codes } if nominal == Nominal::OneHot && *codes != [0.0, 1.0] => {
                    let mut ordered: Vec<(&String, &usize)> = values.iter().collect();
                    ordered.sort_by_key(|v| v.1);
                    ordered.iter().map(|(v, _)| format!("{}={v}", attribute.name)).collect()
                }
                _ => vec![attribute.name.clone()],
            };
            let first = match known_features {
                Some(known) => columns.first().and_then(|c| known.get(c)),
                None => {
                    let first = names.len() as u32;
                    for column in &columns {
                        if names.get(column).is_some() {
                            let message = format!("attribute `{}` stands twice", attribute.name);
                            return Err(self.lines.error_at(attribute.line, 0, message));
                        }
                        names.intern(column);
                    }
                    Some(first)
                }
            };
            self.targets.push(match first {
                None => {
                    self.unknown_features += 1;
                    Target::Ignored
                }
                Some(first) if columns.len() > 1 => Target::OneHot(first),
                Some(first) => Target::Feature(first),
            });
        }
        for (i, attribute) in self.attributes.iter().enumerate() {
            let one_hot = matches!(self.targets[i], Target::OneHot(_));
            if matches!(&attribute.kind, Kind::Nominal { codes, .. } if one_hot || codes.first() != Some(&0.0)) {
                self.silent.push(i);
            }
        }
        self.schema = known.cloned().unwrap_or_default();
        if known_features.is_none() {
            self.schema.features = names.len();
            self.schema.feature_names = Some(Arc::new(names));
        }
        if known.is_none_or(|k| k.label_names.is_none()) {
            let mut ordered: Vec<(&String, &u32)> = labels.iter().collect();
            ordered.sort_by_key(|l| l.1);
            self.schema.labels = ordered.len();
            self.schema.label_names = Some(Arc::new(ordered.iter().map(|l| l.0).collect()));
        }
        Ok(())
    }

    /// Puts the value of attribute `a` into the row.
    fn cell(&self, row: &mut Row, a: usize, text: &[u8], at: usize) -> Result<(), DataError> {
        let attribute = &self.attributes[a];
        let trimmed = text.trim_ascii();
        let missing = trimmed == b"?";
        let position = match &attribute.kind {
            Kind::Nominal { values, .. } if !missing => {
                let value = unquote(trimmed);
                Some(*values.get(&value).ok_or_else(|| {
                    let message = format!("`{value}` is no value of attribute `{}`", attribute.name);
                    self.lines.error(at, message)
                })?)
            }
            _ => None,
        };
        let number = match (&attribute.kind, position) {
            _ if missing => f32::NAN,
            (Kind::Nominal { codes, .. }, Some(position)) => codes[position],
            _ => self.number(trimmed, attribute, at)?,
        };
        match self.targets[a] {
            Target::Ignored => {}
            Target::OneHot(first) => match position {
                Some(position) => row.features.push((first + position as u32, 1.0)),
                None => row.features.push((first, f32::NAN)),
            },
            Target::Feature(column) if number != 0.0 => row.features.push((column, number)),
            Target::Feature(_) => {}
            Target::Label(label) => {
                if number == 1.0 {
                    row.labels.push(label);
                } else if number != 0.0 && !self.unlabelled {
                    let message = format!("label `{}` is {}, expected 0 or 1", attribute.name, quote(trimmed));
                    return Err(self.lines.error(at, message));
                }
            }
        }
        Ok(())
    }

    fn number(&self, text: &[u8], attribute: &Attribute, at: usize) -> Result<f32, DataError> {
        match fast_float2::parse::<f32, _>(text) {
            Ok(v) if v.is_finite() => Ok(v),
            Ok(_) => Err(self.lines.error(at, format!("{} is no finite number", quote(text)))),
            Err(_) => {
                let message = format!("{} is no number (attribute `{}`)", quote(text), attribute.name);
                Err(self.lines.error(at, message))
            }
        }
    }

    fn dense(&self, line: &[u8], row: &mut Row) -> Result<(), DataError> {
        let mut cells = Cells::new(line, b',');
        let mut a = 0;
        while let Some((at, text)) = cells.next() {
            if a == self.attributes.len() {
                let message = format!("more cells than the {} attributes", self.attributes.len());
                return Err(self.lines.error(at, message));
            }
            self.cell(row, a, text, at)?;
            a += 1;
        }
        if a < self.attributes.len() {
            let message = format!("{a} cells, expected {} attributes", self.attributes.len());
            return Err(self.lines.error(line.len(), message));
        }
        Ok(())
    }

    fn sparse(&mut self, line: &[u8], row: &mut Row) -> Result<(), DataError> {
        let Some(end) = line.iter().rposition(|&b| b == b'}') else {
            return Err(self.lines.error(line.len(), "the sparse row has no closing `}`"));
        };
        self.seen.fill(false);
        let mut cells = Cells::new(&line[..end], b',');
        cells.at = 1;
        while let Some((start, text)) = cells.next() {
            let lead = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let (start, text) = (start + lead, text.trim_ascii());
            if text.is_empty() {
                continue;
            }
            let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
            let index = decode(&text[..digits]).parse::<usize>().ok().filter(|_| digits < text.len());
            let Some(index) = index.filter(|_| text[digits].is_ascii_whitespace()) else {
                return Err(self.lines.error(start, format!("{} is no `index value` pair", quote(text))));
            };
            if index >= self.attributes.len() {
                let message = format!("index {index} is beyond the {} attributes", self.attributes.len());
                return Err(self.lines.error(start, message));
            }
            if std::mem::replace(&mut self.seen[index], true) {
                return Err(self.lines.error(start, format!("index {index} stands twice in this row")));
            }
            self.cell(row, index, &text[digits..], start + digits + 1)?;
        }
        for &a in self.silent.iter().filter(|&&a| !self.seen[a]) {
            let Kind::Nominal { codes, .. } = &self.attributes[a].kind else { continue };
            match self.targets[a] {
                Target::OneHot(first) => row.features.push((first, 1.0)),
                Target::Feature(column) => row.features.push((column, codes[0])),
                Target::Label(label) if codes[0] == 1.0 => row.labels.push(label),
                _ => {}
            }
        }
        Ok(())
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
            let text = self.buffer.trim_ascii();
            if !text.is_empty() && text[0] != b'%' {
                break;
            }
        }
        let line = std::mem::take(&mut self.buffer);
        let lead = line.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let result = match line.get(lead) {
            Some(b'{') => self.sparse(&line[lead..], row),
            _ => self.dense(&line, row),
        };
        self.buffer = line;
        result?;
        row.features.sort_unstable_by_key(|e| e.0);
        if let Err(label) = sort_labels(&mut row.labels) {
            return Err(self.lines.error(0, format!("label {label} stands twice")));
        }
        Ok(true)
    }

    fn finish(&mut self) -> Result<Summary, DataError> {
        let schema = self.schema.clone();
        Ok(Summary { schema, shift_down: false, unknown_features: self.unknown_features })
    }
}
