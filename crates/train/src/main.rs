//! The `train` binary: arguments, logging, exit codes.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use train::cli::{Cli, LogFormat, Talk};
use train::commands;

/// Training asks for large buffers again and again: an allocator that gives them back to the system, and asks for them
/// anew, spends more time there than in the loops that use them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli.talk);
    quiet_panics();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start_logging(talk: &Talk) {
    let level = match (talk.quiet, talk.verbose) {
        (true, _) => "warn",
        (false, 0) => "warn,train=info,model=info,data=info",
        (false, 1) => "info,train=debug,model=debug,data=debug",
        (false, _) => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("LONGTAIL_LOG").unwrap_or_else(|_| level.into());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match talk.log_format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder
            .with_target(false)
            .without_time()
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
    }
}

/// A panic is our mistake: one line that says so, and no backtrace unless `LONGTAIL_BACKTRACE` asks for the default.
fn quiet_panics() {
    if std::env::var_os("LONGTAIL_BACKTRACE").is_some() {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("unknown cause");
        let place = info.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
        eprintln!("error: internal error, please report it: {message}{place}");
    }));
}
