//! longtail: training multi-label classifiers where labels are rare.
//!
//! Data flows one way: [`config`] → [`splits`] → [`trainer`] (sampler, feeder, [`step`]: learner, signals, loss;
//! optimizer) →
//! [`predictor`] (what a score is) → [`rules`] (calibration, thresholds) → [`results`] → [`run_folder`] and [`report`].
//! [`commands`] is what the binary offers; [`backend`] alone knows backends by name.
#![forbid(unsafe_code)]

pub mod backend;
pub mod batches;
pub mod cache;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub mod evaluation;
pub mod feeder;
pub mod kept_data;
pub mod learner;
pub mod memory;
pub mod negatives;
pub mod optimizer;
pub mod predictor;
pub mod progress;
pub mod report;
pub mod results;
pub mod rules;
pub mod run_folder;
pub mod sampler;
pub mod signals;
pub mod splits;
pub mod step;
pub mod stored_bank;
pub mod stored_model;
pub mod sweep;
pub mod tensorboard;
pub mod trainer;
