//! What the end-to-end tests share: the built binary in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The built `train` binary, beside the tests' own.
///
/// # Panics
/// When it is not built: `cargo build --release --workspace` builds it.
pub fn binary() -> PathBuf {
    let mut path = std::env::current_exe().expect("the test's own path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    let path = path.join(format!("train{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

/// The folder of the real data sets; says so and returns none where there is none.
pub fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("LONGTAIL_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: LONGTAIL_DATA is not set, no real data to train on");
    }
    folder
}

/// A folder for one test, removed at its end.
pub struct Workspace {
    folder: tempfile::TempDir,
}

impl Default for Workspace {
    fn default() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }
}

impl Workspace {
    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in it.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file in the temporary folder");
        path
    }

    /// The command `train …`, run in it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).current_dir(self.folder.path()).env_remove("LONGTAIL_LOG");
        command.env("LONGTAIL_CACHE", self.path("cache"));
        command
    }

    /// Runs `train …` to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    /// Runs `train …`, which must succeed.
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "train {args:?}\n{}{}", ran.out, ran.err);
        ran
    }

    /// Reads a JSON file in it.
    pub fn json(&self, name: &str) -> Value {
        read_json(&self.path(name))
    }

    /// The events of a run, without what a clock says.
    pub fn timeless_events(&self, run: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(run).join("events.jsonl")).expect("events.jsonl");
        let mut events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("a JSON line")).collect();
        for event in &mut events {
            let event = event.as_object_mut().expect("an object");
            event.remove("seconds");
            event.remove("instances_per_second");
        }
        events
    }
}

/// Reads a JSON file.
pub fn read_json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// How a command ended.
pub struct Ran {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Runs to the end.
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the command starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }

    /// The error message: standard error without log lines and without what graphics libraries say.
    pub fn error(&self) -> String {
        let start = self.err.lines().position(|l| l.starts_with("error: ") && !l.contains("XDG_RUNTIME_DIR"));
        let lines: Vec<&str> = self.err.lines().skip(start.unwrap_or(usize::MAX)).collect();
        lines.join("\n")
    }
}

/// A small made data set, quick to train on, as arguments of `train`.
pub const SMALL: &[&str] = &[
    "--backend",
    "flex",
    "--set",
    "data.generate.instances=600",
    "--set",
    "data.generate.features=120",
    "--set",
    "data.generate.labels=12",
    "--set",
    "data.generate.active=15",
    "--set",
    "model.hidden=[32]",
];
