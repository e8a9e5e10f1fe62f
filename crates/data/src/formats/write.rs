//! Data sets to files: svmlight with the XMC header, JSON lines, CSV and TSV.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::formats::{Format, Row};
use crate::{DataError, Dataset, Schema};

/// Writes rows one by one.
pub struct Writer<W: Write> {
    out: W,
    format: Format,
    schema: Schema,
}

impl<W: Write> Writer<W> {
    /// Starts a file of `instances` rows; the header is written at once.
    ///
    /// # Errors
    /// When writing fails, or for a format that is only read (ARFF).
    pub fn new(mut out: W, format: Format, schema: &Schema, instances: usize) -> Result<Self, DataError> {
        let mut written = Ok(());
        match format {
            Format::Svmlight => written = writeln!(out, "{instances} {} {}", schema.features, schema.labels),
            Format::Jsonl => {}
            Format::Csv | Format::Tsv => {
                let mut cells: Vec<String> = (0..schema.features).map(|i| feature_name(schema, i)).collect();
                cells.push("labels".into());
                written = write_cells(&mut out, format, &cells);
            }
            Format::Arff => {
                return Err(DataError::Request("ARFF is read, not written; choose svmlight, jsonl, csv or tsv".into()));
            }
        }
        written.map_err(|e| DataError::io(Path::new("output"), e))?;
        Ok(Self { out, format, schema: schema.clone() })
    }

    /// Writes one instance.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&mut self, row: &Row) -> Result<(), DataError> {
        self.write_row(row).map_err(|e| DataError::io(Path::new("output"), e))
    }

    fn write_row(&mut self, row: &Row) -> std::io::Result<()> {
        match self.format {
            Format::Svmlight => {
                for (i, label) in row.labels.iter().enumerate() {
                    write!(self.out, "{}{label}", if i == 0 { "" } else { "," })?;
                }
                for (index, value) in &row.features {
                    write!(self.out, " {index}:{value}")?;
                }
                // A line without anything still is an instance: the header counts it.
                writeln!(self.out)
            }
            Format::Jsonl => {
                let features: serde_json::Map<String, serde_json::Value> = row
                    .features
                    .iter()
                    .map(|&(i, v)| {
                        (feature_name(&self.schema, i as usize), if v.is_nan() { json!(null) } else { json!(v) })
                    })
                    .collect();
                let labels: Vec<serde_json::Value> = row
                    .labels
                    .iter()
                    .map(|&l| match &self.schema.label_names {
                        Some(names) => json!(names.list()[l as usize]),
                        None => json!(l),
                    })
                    .collect();
                writeln!(self.out, "{}", json!({"features": features, "labels": labels}))
            }
            _ => {
                let mut cells = vec!["0".to_owned(); self.schema.features];
                for &(i, v) in &row.features {
                    cells[i as usize] = if v.is_nan() { String::new() } else { v.to_string() };
                }
                let names: Vec<String> = row.labels.iter().map(|&l| self.schema.label_name(l as usize)).collect();
                cells.push(names.join(";"));
                write_cells(&mut self.out, self.format, &cells)
            }
        }
    }

    /// Flushes what is buffered.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> Result<W, DataError> {
        self.out.flush().map_err(|e| DataError::io(Path::new("output"), e))?;
        Ok(self.out)
    }
}

/// Writes a whole data set to `path`.
///
/// # Errors
/// When the file cannot be written, or missing values meet a format that has no mark for them.
pub fn write(path: &Path, format: Format, data: &Dataset) -> Result<(), DataError> {
    if format == Format::Svmlight && data.missing > 0 {
        let message = format!("{} missing values, which svmlight cannot hold; choose jsonl or csv", data.missing);
        return Err(DataError::Request(message));
    }
    let fail = |e| DataError::io(path, e);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let temporary = path.with_extension("part");
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let file = std::fs::File::create(&temporary).map_err(fail)?;
    let written = (|| {
        let mut writer = Writer::new(std::io::BufWriter::new(file), format, &data.schema, data.len())?;
        let mut row = Row::default();
        for i in 0..data.len() {
            let (indices, values) = data.features.row(i);
            row.features.clear();
            row.features.extend(indices.iter().copied().zip(values.iter().copied()));
            row.labels.clear();
            row.labels.extend_from_slice(data.labels.row(i));
            writer.write(&row)?;
        }
        writer.finish().map(|_| ())
    })();
    match written {
        Ok(()) => std::fs::rename(&temporary, path).map_err(fail),
        Err(e) => {
            let _ = std::fs::remove_file(&temporary);
            Err(e)
        }
    }
}

fn feature_name(schema: &Schema, i: usize) -> String {
    match &schema.feature_names {
        Some(names) => names.list()[i].clone(),
        None => format!("f{i}"),
    }
}

fn write_cells<W: Write>(out: &mut W, format: Format, cells: &[String]) -> std::io::Result<()> {
    let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(cells).map_err(std::io::Error::other)?;
    out.write_all(&writer.into_inner().map_err(|e| std::io::Error::other(e.to_string()))?)
}
