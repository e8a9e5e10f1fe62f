//! Lines with their numbers, and errors that know where they are.

use std::borrow::Cow;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use crate::DataError;

/// A line reader that counts.
pub(super) struct Lines {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    number: usize,
}

impl Lines {
    pub(super) fn new(path: &Path, input: Box<dyn BufRead + Send>) -> Self {
        Self { path: path.to_owned(), input, number: 0 }
    }

    /// Reads the next line into `buffer`, without its line end; false at the end of the file.
    pub(super) fn next(&mut self, buffer: &mut Vec<u8>) -> Result<bool, DataError> {
        buffer.clear();
        let n = self.input.read_until(b'\n', buffer).map_err(|e| DataError::io(&self.path, e))?;
        if n == 0 {
            return Ok(false);
        }
        self.number += 1;
        if buffer.last() == Some(&b'\n') {
            buffer.pop();
        }
        if buffer.last() == Some(&b'\r') {
            buffer.pop();
        }
        Ok(true)
    }

    /// Number of the line read last, from 1.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An error at byte `offset` (from 0) of the line read last.
    pub(super) fn error(&self, offset: usize, message: impl Into<String>) -> DataError {
        self.error_at(self.number, offset, message)
    }

    /// An error at byte `offset` (from 0) of line `line`.
    pub(super) fn error_at(&self, line: usize, offset: usize, message: impl Into<String>) -> DataError {
        DataError::Parse { path: self.path.clone(), line, column: offset + 1, message: message.into() }
    }

    /// An error about the whole file.
    pub(super) fn file_error(&self, message: impl Into<String>) -> DataError {
        DataError::file(&self.path, message)
    }

    /// The unread rest as one reader.
    pub(super) fn into_inner(self) -> Box<dyn BufRead + Send> {
        self.input
    }
}

/// Bytes as text: UTF-8 where they are, else Latin-1, whose bytes are the first 256 characters.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|&b| b as char).collect()),
    }
}

/// A piece of the file for an error message: at most 40 characters.
pub(super) fn quote(bytes: &[u8]) -> String {
    let text = decode(bytes);
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{short}`")
}
