//! CSV and TSV with a header line: features are numeric columns; labels are either columns of 0 and 1 or one column
//! that lists them.

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

use crate::formats::lines::{Lines, decode, quote};
use crate::formats::{ReadOptions, Row, RowReader, Summary, names_of, sort_labels};
use crate::{DataError, Names, Schema};

#[derive(Clone, Copy)]
enum Target {
    Feature(u32),
    Label(u32),
    LabelList,
    Ignored,
}

pub(super) struct Reader {
    path: PathBuf,
    csv: csv::Reader<Box<dyn BufRead + Send>>,
    record: csv::ByteRecord,
    header: Vec<String>,
    targets: Vec<Target>,
    delimiter: char,
    labels: Names,
    schema: Schema,
    unknown_features: usize,
    unlabelled: bool,
}

impl Reader {
    pub(super) fn new(
        lines: Lines,
        separator: u8,
        options: &ReadOptions,
        known: Option<&Schema>,
    ) -> Result<Self, DataError> {
        let path = lines.path().to_owned();
        let input = lines.into_inner();
        let mut csv = csv::ReaderBuilder::new().delimiter(separator).from_reader(input);
        let header: Vec<String> = match csv.byte_headers() {
            Ok(h) => h.iter().map(|c| decode(c).trim().to_owned()).collect(),
            Err(e) => return Err(csv_error(&path, e)),
        };
        let schema = known.cloned().unwrap_or_default();
        let mut reader = Self {
            path,
            csv,
            record: csv::ByteRecord::new(),
            targets: Vec::with_capacity(header.len()),
            header,
            delimiter: options.label_delimiter.unwrap_or(';'),
            labels: names_of(schema.label_names.as_ref()),
            schema,
            unknown_features: 0,
            unlabelled: options.unlabelled,
        };
        reader.assign(options, known)?;
        Ok(reader)
    }

    /// Gives every column its use.
    fn assign(&mut self, options: &ReadOptions, known: Option<&Schema>) -> Result<(), DataError> {
        let list = options.label_column.clone().unwrap_or_else(|| "labels".into());
        let by_columns = !options.label_columns.is_empty();
        if let Some(absent) = options.label_columns.iter().find(|c| !self.header.contains(c)) {
            if !self.unlabelled {
                return Err(self.head_error(format!("no column `{absent}`; data.label_columns names it")));
            }
        } else if !by_columns && !self.header.contains(&list) && !self.unlabelled {
            let message = format!("no column `{list}`; set data.label_column or data.label_columns");
            return Err(self.head_error(message));
        }
        let known_features = known.and_then(|k| k.feature_names.clone());
        let mut features = Names::default();
        for column in self.header.clone() {
            let target = if by_columns && options.label_columns.contains(&column) {
                match (known.and_then(|k| k.label_names.as_ref()), self.unlabelled) {
                    (Some(names), true) => names.get(&column).map_or(Target::Ignored, Target::Label),
                    _ => Target::Label(self.labels.intern(&column)),
                }
            } else if !by_columns && column == list {
                Target::LabelList
            } else if let Some(known) = &known_features {
                match known.get(&column) {
                    Some(i) => Target::Feature(i),
                    // A label column that this request did not name is no feature.
                    None => {
                        self.unknown_features += usize::from(self.labels.get(&column).is_none());
                        Target::Ignored
                    }
                }
            } else {
                if features.get(&column).is_some() {
                    return Err(self.head_error(format!("column `{column}` stands twice")));
                }
                Target::Feature(features.intern(&column))
            };
            self.targets.push(target);
        }
        if known_features.is_none() {
            self.schema.features = features.len();
            self.schema.feature_names = Some(Arc::new(features));
        }
        if by_columns
            && !self.unlabelled
            && let Some(known) = known
            && known.labels != self.labels.len()
        {
            let message =
                format!("{} label columns here, {} labels in the training data", self.labels.len(), known.labels);
            return Err(self.head_error(message));
        }
        Ok(())
    }

    fn head_error(&self, message: String) -> DataError {
        DataError::Parse { path: self.path.clone(), line: 1, column: 1, message }
    }

    /// An error in cell `i` of the record read last; the column counts bytes as the cells are stored.
    fn error(&self, i: usize, message: String) -> DataError {
        let line = self.record.position().map_or(0, csv::Position::line) as usize;
        let column = self.record.range(i).map_or(0, |r| r.start) + i + 1;
        DataError::Parse { path: self.path.clone(), line, column, message }
    }

    fn cell(&mut self, i: usize, row: &mut Row) -> Result<(), DataError> {
        let text = self.record[i].trim_ascii();
        match self.targets[i] {
            Target::Ignored => {}
            Target::Feature(column) => {
                let value =
                    if text.is_empty() || text == b"?" { Some(f32::NAN) } else { fast_float2::parse(text).ok() };
                match value {
                    Some(v) if v.is_nan() && (text.is_empty() || text == b"?") => row.features.push((column, v)),
                    Some(v) if !v.is_finite() => {
                        return Err(self.error(i, format!("{} is no finite number", quote(text))));
                    }
                    Some(v) if v != 0.0 => row.features.push((column, v)),
                    Some(_) => {}
                    None => {
                        let message = format!("{} is no number (column `{}`)", quote(text), self.header[i]);
                        return Err(self.error(i, message));
                    }
                }
            }
            Target::Label(label) => match text {
                b"1" | b"1.0" | b"true" | b"True" | b"TRUE" => row.labels.push(label),
                b"0" | b"0.0" | b"" | b"false" | b"False" | b"FALSE" => {}
                _ if self.unlabelled => {}
                _ => {
                    let message = format!("label `{}` is {}, expected 0 or 1", self.header[i], quote(text));
                    return Err(self.error(i, message));
                }
            },
            Target::LabelList => {
                let text = decode(text).into_owned();
                for name in text.split(self.delimiter).map(str::trim).filter(|n| !n.is_empty()) {
                    if self.unlabelled {
                        row.labels.extend(self.labels.get(name));
                    } else {
                        row.labels.push(self.labels.intern(name));
                    }
                }
            }
        }
        Ok(())
    }
}

impl RowReader for Reader {
    fn next_row(&mut self, row: &mut Row) -> Result<bool, DataError> {
        row.features.clear();
        row.labels.clear();
        if !self.csv.read_byte_record(&mut self.record).map_err(|e| csv_error(&self.path, e))? {
            return Ok(false);
        }
        for i in 0..self.record.len() {
            self.cell(i, row)?;
        }
        row.features.sort_unstable_by_key(|e| e.0);
        if let Err(label) = sort_labels(&mut row.labels) {
            let name = &self.labels.list()[label as usize];
            return Err(self.error(0, format!("label `{name}` stands twice")));
        }
        Ok(true)
    }

    fn finish(&mut self) -> Result<Summary, DataError> {
        if self.labels.is_empty() && !self.unlabelled {
            return Err(DataError::file(&self.path, "0 labels"));
        }
        if !self.unlabelled {
            self.schema.labels = self.labels.len();
            self.schema.label_names = Some(Arc::new(self.labels.clone()));
        }
        Ok(Summary { schema: self.schema.clone(), shift_down: false, unknown_features: self.unknown_features })
    }
}

/// The csv crate's error with our way of naming places.
fn csv_error(path: &std::path::Path, error: csv::Error) -> DataError {
    let line = error.position().map_or(1, csv::Position::line) as usize;
    match error.into_kind() {
        csv::ErrorKind::Io(e) => DataError::io(path, e),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => DataError::Parse {
            path: path.to_owned(),
            line,
            column: 1,
            message: format!("{len} cells, the header has {expected_len}"),
        },
        other => DataError::Parse { path: path.to_owned(), line, column: 1, message: format!("{other:?}") },
    }
}
