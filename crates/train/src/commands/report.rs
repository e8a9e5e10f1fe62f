//! `train report`: one HTML file.

use std::path::{Path, PathBuf};

use crate::commands::table::say;
use crate::error::Result;
use crate::report::{self, comparison};
use crate::run_folder::RunFolder;

/// Of one run into its folder, of several to `output`.
pub fn run(runs: &[PathBuf], output: &Path) -> Result<()> {
    let path = match runs {
        [one] => report::write(&RunFolder::open(one)?)?,
        several => {
            comparison::write(&several.iter().map(PathBuf::as_path).collect::<Vec<_>>(), output)?;
            output.to_owned()
        }
    };
    say(&format!("report: {}\n", path.display()))
}
