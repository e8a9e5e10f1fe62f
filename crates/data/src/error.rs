//! What can be wrong with data, said for the person who has the file.

use std::path::{Path, PathBuf};

/// A problem with a data file or a request about data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file could not be opened, read or written.
    #[error("{}: {}", path.display(), describe(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not what the format asks for.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// The file as a whole, or several files together, make no sense.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A request that cannot be met.
    #[error("{0}")]
    Request(String),
}

impl DataError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), message: message.into() }
    }

    /// True where the operating system failed, not the content: a full disk, a vanished file.
    pub fn is_io(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// The system's message without its error number; damaged archives are named as such.
fn describe(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "no such file".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "is a directory, expected a data file".into(),
        ErrorKind::StorageFull => "no space left on the device".into(),
        ErrorKind::UnexpectedEof => "the compressed file is truncated (unexpected end)".into(),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => format!("the compressed file is damaged ({error})"),
        _ => error.to_string(),
    }
}
