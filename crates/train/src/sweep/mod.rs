//! Sweeps: many trainings from one file, compared.
//!
//! [`spec`] reads the file, [`trials`] turns it into configs, [`runner`] runs what is missing on this machine and
//! [`slurm`] on a cluster, [`results`] gathers what the run folders hold, and [`leaderboard`] says what differs. A trial is
//! an ordinary run in a folder named by its config: sweeps share equal trials, and one that was stopped goes on.

pub mod halving;
pub mod leaderboard;
pub mod results;
pub mod runner;
pub mod slurm;
pub mod spec;
pub mod tpe;
pub mod trials;

use std::path::{Path, PathBuf};

/// Where a sweep and its trials lie.
#[derive(Debug, Clone)]
pub struct Places {
    /// Run folders of trials, shared by all sweeps.
    pub trials: PathBuf,
    /// Results of this sweep.
    pub sweep: PathBuf,
}

impl Places {
    /// Below `out`, by the name of the sweep's file.
    pub fn new(out: &Path, file: &Path) -> Self {
        let name = file.file_stem().map_or_else(|| "sweep".into(), |s| s.to_owned());
        Self { trials: out.join("trials"), sweep: out.join("sweeps").join(name) }
    }

    /// The run folder of a trial.
    pub fn run(&self, id: &str) -> PathBuf {
        self.trials.join(id)
    }

    /// The config a trial is started with.
    pub fn config(&self, id: &str) -> PathBuf {
        self.trials.join(format!("{id}.toml"))
    }

    /// What a trial said that failed.
    pub fn error(&self, id: &str) -> PathBuf {
        self.trials.join(format!("{id}.error"))
    }
}
