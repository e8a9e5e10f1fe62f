//! How a command can end, and the exit code of each ending.

use data::DataError;
use losses::LossError;
use model::ModelError;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request was wrong: arguments, config or data. Exit code 2.
    #[error("{0}")]
    Request(String),
    /// The job failed. Exit code 1.
    #[error("{0}")]
    Job(String),
    /// The user interrupted it; a checkpoint is written. Exit code 130.
    #[error("{0}")]
    Interrupted(String),
}

impl Error {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Request(_) => 2,
            Self::Job(_) => 1,
            Self::Interrupted(_) => 130,
        }
    }

    /// A failure of the system while writing `path`.
    pub fn write(path: &std::path::Path, error: &std::io::Error) -> Self {
        let cause = match error.kind() {
            std::io::ErrorKind::StorageFull => "no space left on the device".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            std::io::ErrorKind::FileTooLarge => "the file grew beyond the limit of the system".to_owned(),
            _ => error.to_string(),
        };
        Self::Job(format!("{}: {cause}", path.display()))
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        Self::Request(error.to_string())
    }
}

impl From<LossError> for Error {
    fn from(error: LossError) -> Self {
        Self::Request(error.to_string())
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        Self::Request(error.to_string())
    }
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Error>;
