//! Files to data sets: one reader a format, every reader a stream of rows, every error with its place.
//!
//! Compressed files (gzip, bzip2, xz, zstd) are recognised by their first bytes and open as they are.

mod arff;
mod delimited;
mod jsonl;
mod lines;
mod open;
mod svmlight;
mod write;

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{DataError, Dataset, FeatureRows, LabelRows, Schema};

pub use open::open;
pub use write::{Writer, write};

/// The layouts this crate reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `labels index:value …`, with or without the XMC header line `instances features labels`.
    Svmlight,
    /// Mulan (with an XML file of label names) or MEKA (`-C n` in the relation) ARFF, dense or sparse.
    Arff,
    /// One object a line: `{"features": {…} | […], "labels": […]}`.
    Jsonl,
    /// Comma-separated with a header line.
    Csv,
    /// Tab-separated with a header line.
    Tsv,
}

impl Format {
    /// The format that a file's name (without `.gz`, `.bz2`, `.xz`, `.zst`) says.
    pub fn from_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let stem = [".gz", ".bz2", ".xz", ".zst"].iter().find_map(|e| name.strip_suffix(e)).unwrap_or(&name);
        let (_, extension) = stem.rsplit_once('.')?;
        match extension {
            "arff" => Some(Self::Arff),
            "txt" | "svm" | "svmlight" | "libsvm" | "xmc" | "dat" => Some(Self::Svmlight),
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            _ => None,
        }
    }

    /// A guess from the first bytes, for standard input and unknown file names.
    fn sniff(first: &[u8]) -> Self {
        match first.iter().find(|b| !b.is_ascii_whitespace()) {
            Some(b'{') => Self::Jsonl,
            Some(b'@' | b'%') => Self::Arff,
            _ => {
                let line = first.split(|&b| b == b'\n').next().unwrap_or_default();
                if line.contains(&b'\t') {
                    Self::Tsv
                } else if line.iter().any(u8::is_ascii_alphabetic) {
                    Self::Csv
                } else {
                    Self::Svmlight
                }
            }
        }
    }
}

impl FromStr for Format {
    type Err = DataError;

    fn from_str(s: &str) -> Result<Self, DataError> {
        match s {
            "svmlight" | "xmc" => Ok(Self::Svmlight),
            "arff" => Ok(Self::Arff),
            "jsonl" => Ok(Self::Jsonl),
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            _ => Err(DataError::Request(format!("`{s}` is no format; known: svmlight, arff, jsonl, csv, tsv"))),
        }
    }
}

/// How nominal (categorical) ARFF features become numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nominal {
    /// The number itself where every value is a number, else the value's position; one column.
    #[default]
    Code,
    /// One column of 0 and 1 for each value; `{0,1}` attributes stay one column.
    OneHot,
}

/// What a file alone does not say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadOptions {
    /// The format; by default from the file's name, else from its first bytes.
    pub format: Option<Format>,
    /// ARFF: the Mulan XML file that lists the label attributes.
    pub labels: Option<PathBuf>,
    /// CSV and TSV: the columns that are labels, each cell 0 or 1.
    pub label_columns: Vec<String>,
    /// CSV and TSV: the one column that lists the labels of a row. Default: `labels`.
    pub label_column: Option<String>,
    /// CSV and TSV: what separates the labels in that column. Default: `;`.
    pub label_delimiter: Option<char>,
    /// ARFF: nominal features.
    pub nominal: Nominal,
    /// svmlight: do feature indices count from 1? Default: found out from the file.
    pub one_based: Option<bool>,
    /// Data without labels is welcome (prediction): label columns may be absent, unknown labels are left out.
    pub unlabelled: bool,
}

/// One instance as read: unsorted indices are sorted by the reader, duplicates are its error.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Feature index and value, ascending.
    pub features: Vec<(u32, f32)>,
    /// Label indices, ascending.
    pub labels: Vec<u32>,
}

/// What is known when the last row is read.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The columns.
    pub schema: Schema,
    /// Feature indices of all rows were handed out counted from 1 and must be lowered by one.
    pub shift_down: bool,
    /// Entries left out because the known schema lacks their name.
    pub unknown_features: usize,
}

/// A stream of instances.
pub trait RowReader: Send {
    /// Reads the next instance into `row` (which is cleared first); false at the end.
    ///
    /// # Errors
    /// The first thing in the file that is not as the format asks, with its place.
    fn next_row(&mut self, row: &mut Row) -> Result<bool, DataError>;

    /// Checks that span the file, and the schema. Call it after the last row.
    ///
    /// # Errors
    /// Counts that do not match what the file announced.
    fn finish(&mut self) -> Result<Summary, DataError>;
}

/// Opens `path` (`-`: standard input) as a stream of rows.
///
/// With a `known` schema the columns are those of an earlier file: names are looked up in it, unknown features are
/// left out and counted, label names that are new are added at the end (left out with `options.unlabelled`).
///
/// # Errors
/// When the file cannot be opened or its head is wrong.
pub fn rows(path: &Path, options: &ReadOptions, known: Option<&Schema>) -> Result<Box<dyn RowReader>, DataError> {
    let mut input = open(path)?;
    let first = input.fill_buf().map_err(|e| DataError::io(path, e))?;
    if first.is_empty() {
        return Err(DataError::file(path, "the file is empty"));
    }
    let format = options.format.or_else(|| Format::from_path(path)).unwrap_or_else(|| Format::sniff(first));
    let lines = lines::Lines::new(path, input);
    Ok(match format {
        Format::Svmlight => Box::new(svmlight::Reader::new(lines, options, known)?),
        Format::Arff => Box::new(arff::Reader::new(lines, options, known)?),
        Format::Jsonl => Box::new(jsonl::Reader::new(lines, options, known)),
        Format::Csv => Box::new(delimited::Reader::new(lines, b',', options, known)?),
        Format::Tsv => Box::new(delimited::Reader::new(lines, b'\t', options, known)?),
    })
}

/// Reads a whole file.
///
/// # Errors
/// As [`rows`], and for a file without any instance.
pub fn read(path: &Path, options: &ReadOptions, known: Option<&Schema>) -> Result<Dataset, DataError> {
    let mut reader = rows(path, options, known)?;
    let mut features = FeatureRows::new(0);
    let mut labels = LabelRows::new(0);
    let mut row = Row::default();
    while reader.next_row(&mut row)? {
        features.push(&row.features);
        labels.push(&row.labels);
    }
    let summary = reader.finish()?;
    if labels.is_empty() {
        return Err(DataError::file(path, "no instances"));
    }
    if summary.shift_down {
        features.shift_down();
    }
    features.set_columns(summary.schema.features);
    labels.set_columns(summary.schema.labels);
    features.shrink();
    labels.shrink();
    let missing = features.values().iter().filter(|v| v.is_nan()).count();
    Ok(Dataset { features, labels, schema: summary.schema, missing, unknown_features: summary.unknown_features })
}

/// Reads several files of one data set; later files take their columns from the earlier ones.
///
/// # Errors
/// As [`read`], and for files whose columns do not belong together.
pub fn read_together(paths: &[&Path], options: &ReadOptions) -> Result<Vec<Dataset>, DataError> {
    let mut sets: Vec<Dataset> = Vec::new();
    for path in paths {
        let known = sets.last().map(|s| s.schema.clone());
        let set = read(path, options, known.as_ref())?;
        sets.push(set);
    }
    // The files of a numbered format need not all reach the largest index.
    if let Some(last) = sets.last().map(|s| s.schema.clone()) {
        for set in &mut sets {
            set.widen_labels(&last);
            set.features.set_columns(last.features);
            set.schema.features = last.features;
        }
    }
    Ok(sets)
}

/// Sorts by index; the index that stands twice is returned as the error.
fn sort_row(features: &mut [(u32, f32)]) -> Result<(), u32> {
    if features.windows(2).all(|w| w[0].0 < w[1].0) {
        return Ok(());
    }
    features.sort_unstable_by_key(|e| e.0);
    match features.windows(2).find(|w| w[0].0 == w[1].0) {
        Some(w) => Err(w[0].0),
        None => Ok(()),
    }
}

/// Sorts labels; the label that stands twice is returned as the error.
fn sort_labels(labels: &mut [u32]) -> Result<(), u32> {
    if labels.windows(2).all(|w| w[0] < w[1]) {
        return Ok(());
    }
    labels.sort_unstable();
    match labels.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => Err(w[0]),
        None => Ok(()),
    }
}

/// The names of two label sets, compared; the message names the first difference.
fn same_labels(found: &[String], known: &Schema) -> Result<(), String> {
    let Some(names) = &known.label_names else { return Ok(()) };
    if found.len() != names.len() {
        return Err(format!("{} labels here, {} in the training data", found.len(), names.len()));
    }
    match found.iter().zip(names.list()).enumerate().find(|(_, (a, b))| a != b) {
        Some((i, (a, b))) => Err(format!("label {i} is `{a}` here and `{b}` in the training data")),
        None => Ok(()),
    }
}

/// The known names, or an empty list to be filled.
fn names_of(known: Option<&Arc<crate::Names>>) -> crate::Names {
    known.map(|n| (**n).clone()).unwrap_or_default()
}
