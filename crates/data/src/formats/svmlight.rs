//! svmlight multi-label, with and without the header line of the extreme classification (XMC) repository.
//!
//! `2,7 1:0.5 9:1` is an instance with labels 2 and 7; a line that starts with a space or a `index:value` pair has none.

use crate::formats::lines::{Lines, quote};
use crate::formats::{ReadOptions, Row, RowReader, Summary, sort_labels, sort_row};
use crate::{DataError, Schema};

/// Where something was seen first: line and byte offset.
type Place = (usize, usize);

/// Instances, features and labels, as the first line announces them.
struct Header {
    instances: usize,
    features: usize,
    labels: usize,
}

pub(super) struct Reader {
    lines: Lines,
    buffer: Vec<u8>,
    /// The first line, read ahead to look for a header, is a row.
    pending: bool,
    header: Option<Header>,
    one_based: Option<bool>,
    known: Option<Schema>,
    unlabelled: bool,
    rows: usize,
    first_zero: Option<Place>,
    /// First index equal to the header's feature count: fine only where indices count from 1.
    first_full: Option<Place>,
    largest_feature: Option<u32>,
    largest_label: Option<u32>,
}

impl Reader {
    pub(super) fn new(mut lines: Lines, options: &ReadOptions, known: Option<&Schema>) -> Result<Self, DataError> {
        let mut buffer = Vec::new();
        let pending = lines.next(&mut buffer)?;
        let header = if pending { parse_header(&lines, &buffer)? } else { None };
        if let (Some(h), Some(k), false) = (&header, known, options.unlabelled)
            && k.label_names.is_none()
            && h.labels != k.labels
        {
            let message = format!("the header says {} labels, the training data has {}", h.labels, k.labels);
            return Err(lines.error(0, message));
        }
        let known_base = known.and_then(|k| k.one_based).or_else(|| known.map(|_| header.is_none()));
        Ok(Self {
            pending: pending && header.is_none(),
            lines,
            buffer,
            header,
            one_based: options.one_based.or(known_base),
            known: known.cloned(),
            unlabelled: options.unlabelled,
            rows: 0,
            first_zero: None,
            first_full: None,
            largest_feature: None,
            largest_label: None,
        })
    }

    /// The next line that holds an instance. Blank lines are instances without anything only under a header.
    fn next_line(&mut self) -> Result<bool, DataError> {
        loop {
            if std::mem::take(&mut self.pending) {
                // The line is in the buffer already.
            } else if !self.lines.next(&mut self.buffer)? {
                return Ok(false);
            }
            if let Some(comment) = memchr::memchr(b'#', &self.buffer) {
                self.buffer.truncate(comment);
            }
            let blank = self.buffer.iter().all(u8::is_ascii_whitespace);
            let wanted = self.header.as_ref().is_some_and(|h| self.rows < h.instances);
            if !blank || wanted {
                return Ok(true);
            }
        }
    }

    fn label(&mut self, text: &[u8], at: usize) -> Result<u32, DataError> {
        let label =
            parse_index(text).ok_or_else(|| self.lines.error(at, format!("{} is no label index", quote(text))))?;
        let limit = match (&self.header, &self.known) {
            (Some(h), _) => Some((h.labels, "the header's")),
            (None, Some(k)) => Some((k.labels, "the training data's")),
            (None, None) => None,
        };
        match limit {
            Some((count, whose)) if label as usize >= count && !self.unlabelled => {
                let message =
                    format!("label index {label} is beyond {whose} {count} labels (0 to {})", count.max(1) - 1);
                Err(self.lines.error(at, message))
            }
            _ => Ok(label),
        }
    }

    /// Notes `index` as found at byte `at`, and refuses what lies outside the announced columns.
    fn check_feature(&mut self, index: u32, at: usize) -> Result<(), DataError> {
        let place = (self.lines.number(), at);
        if index == 0 && self.first_zero.is_none() {
            if self.one_based == Some(true) {
                return Err(self.lines.error(at, "feature index 0, but indices count from 1 here"));
            }
            self.first_zero = Some(place);
        }
        if let Some(h) = &self.header {
            let highest = h.features - usize::from(self.one_based == Some(false) && h.features > 0);
            if index as usize > highest {
                let message = format!("feature index {index} is beyond the header's {} features", h.features);
                return Err(self.lines.error(at, message));
            }
            if index as usize == h.features && self.first_full.is_none() {
                self.first_full = Some(place);
            }
        }
        self.largest_feature = self.largest_feature.max(Some(index));
        Ok(())
    }

    fn parse(&mut self, row: &mut Row) -> Result<(), DataError> {
        let line = std::mem::take(&mut self.buffer);
        let result = self.parse_line(&line, row);
        self.buffer = line;
        result
    }

    fn parse_line(&mut self, line: &[u8], row: &mut Row) -> Result<(), DataError> {
        let mut at = 0;
        let first_end = token_end(line, 0);
        if first_end > 0 && !line[..first_end].contains(&b':') {
            for part in line[..first_end].split(|&b| b == b',') {
                let label = self.label(part, at)?;
                row.labels.push(label);
                at += part.len() + 1;
            }
            at = first_end;
        }
        loop {
            while at < line.len() && line[at].is_ascii_whitespace() {
                at += 1;
            }
            if at == line.len() {
                break;
            }
            at = self.pair(line, at, row)?;
        }
        if let Err(label) = sort_labels(&mut row.labels) {
            return Err(self.lines.error(0, format!("label {label} stands twice")));
        }
        if let Err(index) = sort_row(&mut row.features) {
            let at = duplicate_place(line, index);
            return Err(self.lines.error(at, format!("feature {index} stands twice in this row")));
        }
        if self.known.is_some() && self.one_based == Some(true) {
            row.features.iter_mut().for_each(|e| e.0 -= 1);
        }
        self.largest_label = self.largest_label.max(row.labels.last().copied());
        Ok(())
    }

    /// Reads `index:value` at `at`; returns where it ends.
    fn pair(&mut self, line: &[u8], at: usize, row: &mut Row) -> Result<usize, DataError> {
        let mut index: u64 = 0;
        let mut i = at;
        while i < line.len() && line[i].is_ascii_digit() && index <= u64::from(u32::MAX) {
            index = index * 10 + u64::from(line[i] - b'0');
            i += 1;
        }
        let end = token_end(line, at);
        if i == at || i >= end || line[i] != b':' || index >= u64::from(u32::MAX) {
            let message = format!("{} is no feature, expected index:value", quote(&line[at..end]));
            return Err(self.lines.error(at, message));
        }
        let value: f32 = match fast_float2::parse_partial(&line[i + 1..end]) {
            Ok((value, n)) if n == end - i - 1 => value,
            _ => return Err(self.lines.error(i + 1, format!("{} is no number", quote(&line[i + 1..end])))),
        };
        if !value.is_finite() {
            let message = format!("{} is no finite number", quote(&line[i + 1..end]));
            return Err(self.lines.error(i + 1, message));
        }
        let index = index as u32;
        self.check_feature(index, at)?;
        row.features.push((index, value));
        Ok(end)
    }
}

impl RowReader for Reader {
    fn next_row(&mut self, row: &mut Row) -> Result<bool, DataError> {
        row.features.clear();
        row.labels.clear();
        if !self.next_line()? {
            return Ok(false);
        }
        self.rows += 1;
        if let Some(h) = self.header.as_ref().filter(|h| self.rows > h.instances) {
            let message = format!("more instances than the header's {}", h.instances);
            return Err(self.lines.error(0, message));
        }
        self.parse(row)?;
        if let Some(known) = self.known.as_ref().filter(|_| self.unlabelled) {
            let (features, labels) = (known.features as u32, known.labels as u32);
            row.features.retain(|e| e.0 < features);
            row.labels.retain(|&l| l < labels);
        }
        Ok(true)
    }

    fn finish(&mut self) -> Result<Summary, DataError> {
        if let Some(h) = self.header.as_ref().filter(|h| h.instances != self.rows) {
            let message = format!("the header says {} instances, the file has {}", h.instances, self.rows);
            return Err(self.lines.error_at(1, 0, message));
        }
        let one_based = match (self.one_based, self.first_zero, self.first_full) {
            (Some(base), ..) => base,
            (None, Some((line, column)), Some(_)) => {
                let message = "feature index 0 stands beside an index equal to the header's feature count";
                return Err(self.lines.error_at(line, column, message));
            }
            (None, Some(_), None) => false,
            (None, None, Some(_)) => true,
            (None, None, None) => self.header.is_none(),
        };
        let found_features = self.largest_feature.map_or(0, |m| m as usize + usize::from(!one_based));
        let found_labels = self.largest_label.map_or(0, |m| m as usize + 1);
        let mut schema = self.known.clone().unwrap_or_default();
        if !self.unlabelled {
            schema.features = schema.features.max(self.header.as_ref().map_or(found_features, |h| h.features));
            schema.labels = schema.labels.max(self.header.as_ref().map_or(found_labels, |h| h.labels));
        }
        schema.one_based = Some(one_based);
        Ok(Summary { schema, shift_down: one_based && self.known.is_none(), unknown_features: 0 })
    }
}

/// Three whole numbers and nothing else: the XMC header.
fn parse_header(lines: &Lines, line: &[u8]) -> Result<Option<Header>, DataError> {
    let tokens: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|t| !t.is_empty()).collect();
    let numbers: Vec<Option<u32>> = tokens.iter().map(|t| parse_index(t)).collect();
    match numbers[..] {
        [Some(instances), Some(features), Some(labels)] => {
            if labels == 0 {
                return Err(lines.error(0, "the header says 0 labels"));
            }
            Ok(Some(Header { instances: instances as usize, features: features as usize, labels: labels as usize }))
        }
        _ => Ok(None),
    }
}

fn parse_index(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0u64, |n, &b| n * 10 + u64::from(b - b'0'));
    u32::try_from(value).ok().filter(|&v| v < u32::MAX)
}

fn token_end(line: &[u8], from: usize) -> usize {
    line[from..].iter().position(u8::is_ascii_whitespace).map_or(line.len(), |n| from + n)
}

/// Where the second `index:` of a row stands.
fn duplicate_place(line: &[u8], index: u32) -> usize {
    let mut places = Vec::new();
    let mut at = 0;
    while at < line.len() {
        let end = token_end(line, at);
        let mut parts = line[at..end].splitn(2, |&b| b == b':');
        if let (Some(head), Some(_)) = (parts.next(), parts.next())
            && parse_index(head) == Some(index)
        {
            places.push(at);
        }
        at = end + 1;
    }
    places.get(1).copied().unwrap_or(0)
}
