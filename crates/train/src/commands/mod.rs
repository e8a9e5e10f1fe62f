//! What the binary offers, one file a command.

mod data;
mod devices;
mod evaluate;
mod folds;
mod models;
mod predict;
mod report;
mod sweep;
mod table;
mod train;
mod tune;

use clap::CommandFactory;

use crate::cli::{Cli, Command, LogFormat};
use crate::error::Result;
use crate::progress::Display;

/// Runs what the command line asks for.
///
/// # Errors
/// The command's.
pub fn run(cli: Cli) -> Result<()> {
    let display = Display::choose(cli.talk.quiet, cli.talk.log_format == LogFormat::Json);
    match cli.command {
        None => train::run(&cli.train, display),
        Some(Command::Evaluate(args)) => evaluate::run(&args),
        Some(Command::Predict(args)) => predict::run(&args),
        Some(Command::Tune(args)) => tune::run(&args),
        Some(Command::Sweep(args)) => sweep::run(&args),
        Some(Command::Data(command)) => data::run(&command),
        Some(Command::Devices { json }) => devices::run(json),
        Some(Command::Models(args)) => models::run(&args),
        Some(Command::Report { runs, output }) => report::run(&runs, &output),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "train", &mut script);
            table::say(&String::from_utf8_lossy(&script))
        }
    }
}
