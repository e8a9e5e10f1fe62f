//! Multi-label data sets as compressed sparse rows: reading, writing, splitting, scaling, describing and making them.
//!
//! This crate knows files and numbers, and no tensors. Everything downstream takes a [`Dataset`].
#![deny(unsafe_code)]

mod dataset;
mod error;
pub mod formats;
pub mod generate;
mod label_graph;
pub mod preprocess;
mod sparse;
pub mod split;
pub mod statistics;
pub mod store;

pub use dataset::{Dataset, Names, Schema};
pub use error::DataError;
pub use label_graph::LabelGraph;
pub use sparse::{FeatureRows, LabelRows};

/// SHA-256 of a file as stored (compressed files are not unpacked), in lower-case hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn checksum(path: &std::path::Path) -> Result<String, DataError> {
    use sha2::Digest;
    let mut file = std::fs::File::open(path).map_err(|e| DataError::io(path, e))?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = std::io::Read::read(&mut file, &mut buffer).map_err(|e| DataError::io(path, e))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
