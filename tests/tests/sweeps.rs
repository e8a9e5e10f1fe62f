//! Sweeps, as a user runs, stops, repeats and reads them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tests::{Ran, Workspace};

/// Small made data, so that a trial takes a moment.
const BASE: &str = "
[base.data]
test = 0.25
validation = 0.15
[base.data.generate]
instances = 400
features = 60
labels = 8
active = 12
[base.loss]
kind = \"bce\"
[base.model]
kind = \"mlp\"
hidden = [8]
[base.optimizer]
kind = \"adam\"
learning_rate = 0.01
[base.train]
epochs = 3
";

fn sweep(w: &Workspace, name: &str, head: &str, more: &[&str]) -> Ran {
    w.file(name, &format!("{head}\n{BASE}"));
    w.run(&[&["sweep", name, "--backend", "flex", "--out", "runs"], more].concat())
}

fn trials(w: &Workspace) -> BTreeSet<String> {
    let entries = std::fs::read_dir(w.path("runs/trials")).unwrap().map(|e| e.unwrap().path());
    entries.filter(|p| p.is_dir()).map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// Rows of `results.csv` as (header, cells).
fn results(w: &Workspace, name: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let text = std::fs::read_to_string(w.path(&format!("runs/sweeps/{name}/results.csv"))).unwrap();
    let mut lines = text.lines().map(|l| l.split(',').map(str::to_owned).collect::<Vec<_>>());
    (lines.next().unwrap(), lines.collect())
}

#[test]
fn every_combination_runs_once_and_only_what_is_missing_the_next_time() {
    let w = Workspace::default();
    let head = "seeds = [0, 1]\n[grid]\nloss.kind = [\"bce\", \"any_class\"]\nmodel.hidden = [[8], [16]]\n\
                [data.few]\ndata.generate.instances = 300\n[data.many]\ndata.generate.instances = 500";
    let first = sweep(&w, "s.toml", head, &["--jobs", "2"]);
    assert_eq!(first.code, 0, "{}{}", first.out, first.err);
    assert!(first.err.contains("16 trials, 16 of them to run, 2 side by side"), "{}", first.err);
    assert_eq!(trials(&w).len(), 16);
    for words in ["loss=any_class model.hidden=[8]", "few", "many", "Friedman over 2 data sets", "not distinguishable"]
    {
        assert!(first.out.contains(words), "no {words} in {}", first.out);
    }
    let (head_row, rows) = results(&w, "s");
    let column = |name: &str| head_row.iter().position(|h| h == name).unwrap();
    let (metric, split) = (column("metric"), column("split"));
    let f1: Vec<_> = rows.iter().filter(|r| r[metric] == "f1_macro" && r[split] == "test").collect();
    assert_eq!(f1.len(), 16);
    assert_eq!(f1.iter().map(|r| r[column("trial")].clone()).collect::<BTreeSet<_>>(), trials(&w));
    let html = std::fs::read_to_string(w.path("runs/sweeps/s/report.html")).unwrap();
    for words in ["16 of 16 trials", "What each setting does", "Settings together", "critical difference"] {
        assert!(html.contains(words), "no {words} in the page");
    }
    assert!(!html.contains("http://") || html.matches("http://").count() == html.matches("http://www.w3.org").count());

    let again = sweep(&w, "s.toml", head, &[]);
    assert!(again.err.contains("16 trials, 0 of them to run"), "{}", again.err);
    assert_eq!(again.out, first.out);

    // A trial is an ordinary run: its config trains the same numbers again.
    let one = trials(&w).pop_first().unwrap();
    let config = format!("runs/trials/{one}/config.toml");
    w.ok(&["--quiet", "--backend", "flex", "--config", &config, "--out", "alone"]);
    assert_eq!(w.timeless_events("alone"), w.timeless_events(&format!("runs/trials/{one}")));

    // Another sweep shares what is equal.
    let more = sweep(&w, "more.toml", &head.replace("[0, 1]", "[0, 1, 2]"), &[]);
    assert!(more.err.contains("24 trials, 8 of them to run"), "{}", more.err);

    let status = w.ok(&["sweep", "status", "more.toml", "--out", "runs"]);
    assert!(status.out.contains("trials") && status.out.contains("24"), "{}", status.out);
}

#[test]
fn draws_conditions_and_folds_make_the_trials_they_should() {
    let w = Workspace::default();
    let head = "seeds = [3]\nfolds = 2\n[grid]\nloss.kind = [\"bce\", \"any_class\", \"focal\"]\nloss.lambda = [0.02, 0.1]\n\
                [conditions.\"loss.lambda\"]\n\"loss.kind\" = \"any_class\"\n[random]\nbudget = 3\nseed = 5\n[random.space]\n\
                optimizer.learning_rate = { log = [1e-3, 1e-1] }\nmodel.dropout = { uniform = [0.0, 0.5] }\n\
                model.hidden = { choices = [[4], [8]] }\ntrain.batch_size = { integers = [16, 64] }";
    let base = BASE.replace("test = 0.25\nvalidation = 0.15\n", "");
    w.file("d.toml", &format!("{head}\n{base}"));
    let listed = w.ok(&["sweep", "d.toml", "--dry-run", "--out", "runs"]);
    // bce, focal and two of any_class, times three draws, times two folds.
    assert!(listed.out.ends_with("24 trials\n"), "{}", listed.out);
    assert!(!listed.out.contains("loss=bce loss.lambda"), "{}", listed.out);
    assert!(listed.out.contains("loss=any_class loss.lambda=0.1"), "{}", listed.out);
    assert_eq!(w.ok(&["sweep", "d.toml", "--dry-run", "--out", "runs"]).out, listed.out, "the draws are seeded");
    let ran = w.run(&["sweep", "d.toml", "--backend", "flex", "--out", "runs"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let (head_row, rows) = results(&w, "d");
    let folds: BTreeSet<&String> =
        rows.iter().map(|r| &r[head_row.iter().position(|h| h == "fold").unwrap()]).collect();
    assert_eq!(folds.len(), 2);
}

#[test]
fn a_trial_that_fails_is_kept_with_its_error_and_takes_no_other_with_it() {
    let w = Workspace::default();
    let head = "[grid]\noptimizer.kind = [\"sgd\"]\noptimizer.learning_rate = [0.1, 1e30]";
    let ran = sweep(&w, "f.toml", head, &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.error().starts_with("error: 1 trials failed; their errors: "), "{}", ran.error());
    assert!(ran.err.contains("failed: the loss is "), "{}", ran.err);
    let errors: Vec<_> = std::fs::read_dir(w.path("runs/trials")).unwrap().map(|e| e.unwrap().path()).collect();
    let error = errors.iter().find(|p| p.extension().is_some_and(|e| e == "error")).unwrap();
    assert!(std::fs::read_to_string(error).unwrap().starts_with("the loss is "));
    // The table has what ended; the next time the failed one is not run, unless asked for.
    let again = sweep(&w, "f.toml", head, &[]);
    assert!(again.code == 0 && again.err.contains("2 trials, 0 of them to run"), "{}", again.err);
    let status = w.ok(&["sweep", "status", "f.toml", "--out", "runs"]);
    assert!(
        status.out.contains("failed: optimizer=sgd optimizer.learning_rate=1") && status.out.contains("the loss is "),
        "{}",
        status.out
    );
    let retried = sweep(&w, "f.toml", head, &["--retry"]);
    assert!(retried.code == 1 && retried.err.contains("2 trials, 1 of them to run"), "{}", retried.err);
}

#[cfg(unix)]
#[test]
fn a_killed_trial_is_one_failure_and_a_stopped_sweep_goes_on() {
    let w = Workspace::default();
    let head = "seeds = [0, 1, 2]\n[grid]\ntrain.epochs = [3000]";
    w.file("k.toml", &format!("{head}\n{BASE}"));
    let args = ["sweep", "k.toml", "--backend", "flex", "--out", "runs", "--jobs", "2"];
    let start = || w.command(&args).stdin(std::process::Stdio::null()).spawn().unwrap();
    let children = |parent: u32| -> Vec<String> {
        let listed = std::process::Command::new("pgrep").args(["-P", &parent.to_string()]).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).split_whitespace().map(str::to_owned).collect()
    };
    let kill = |signal: &str, pid: &str| std::process::Command::new("kill").args([signal, pid]).status().unwrap();
    let wait_for = |found: &dyn Fn() -> bool| {
        let since = Instant::now();
        while !found() {
            assert!(since.elapsed() < Duration::from_secs(60), "nothing happened");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let events = || {
        let runs = std::fs::read_dir(w.path("runs/trials")).into_iter().flatten().flatten();
        runs.filter(|e| e.path().join("events.jsonl").is_file()).count()
    };
    // Stopped: the trials write checkpoints.
    let mut sweep = start();
    wait_for(&|| events() == 2);
    kill("-INT", &sweep.id().to_string());
    assert_eq!(sweep.wait().unwrap().code(), Some(130));
    let saved =
        trials(&w).iter().filter(|t| w.path(&format!("runs/trials/{t}/checkpoint/last.ckpt")).is_file()).count();
    assert_eq!(saved, 2);
    // Goes on; one of its trials is killed.
    let mut sweep = start();
    wait_for(&|| children(sweep.id()).len() == 2);
    kill("-KILL", &children(sweep.id())[0]);
    assert_eq!(sweep.wait().unwrap().code(), Some(1));
    let status = w.ok(&["sweep", "status", "k.toml", "--out", "runs"]);
    assert!(status.out.contains("it was killed, perhaps because memory ran out"), "{}", status.out);
    // Tried again it goes on from its checkpoint and ends.
    let ended = w.run(&[&args[..], &["--retry"]].concat());
    assert!(ended.code == 0 && ended.err.contains("3 trials, 1 of them to run"), "{}", ended.err);
}

#[cfg(unix)]
#[test]
fn a_full_disk_loses_no_finished_trial() {
    let w = Workspace::default();
    let one = "[grid]\nmodel.hidden = [[8]]";
    assert_eq!(sweep(&w, "disk.toml", one, &[]).code, 0);
    w.file("disk.toml", &format!("[grid]\nmodel.hidden = [[8], [300], [400]]\n{BASE}"));
    // Files may not grow beyond 64 KiB: checkpoints of the larger models fail as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" sweep disk.toml --backend flex --out runs";
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", script]).arg(tests::binary()).current_dir(w.path("")).env("LONGTAIL_CACHE", w.path("cache"));
    let full = Ran::of(&mut shell);
    assert_eq!(full.code, 1, "{}{}", full.out, full.err);
    assert!(
        full.err.contains("failed: ") && full.err.contains("the file grew beyond the limit of the system"),
        "{}",
        full.err
    );
    let status = w.ok(&["sweep", "status", "disk.toml", "--out", "runs"]).out;
    assert!(status.contains("model.hidden=[8]") && status.matches("failed: ").count() == 2, "{status}");
    let mended = w.run(&["sweep", "disk.toml", "--backend", "flex", "--out", "runs", "--retry"]);
    assert!(mended.code == 0 && mended.err.contains("3 trials, 2 of them to run"), "{}", mended.err);
}

#[test]
fn halving_gives_the_whole_training_to_the_best_alone() {
    let w = Workspace::default();
    let head = "[halving]\nfirst = 2\nfactor = 3\n[grid]\ntrain.epochs = [18]\n\
                optimizer.learning_rate = [1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]";
    let ran = sweep(&w, "h.toml", head, &["--jobs", "2"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let epochs = |id: &String| w.timeless_events(&format!("runs/trials/{id}")).len();
    let mut ended: Vec<usize> = trials(&w).iter().map(epochs).collect();
    ended.sort_unstable();
    assert_eq!(ended.len(), 9);
    assert!(ended.iter().all(|e| [2, 6, 18].contains(e)), "{ended:?}");
    let (short, whole) = (ended.iter().filter(|e| **e == 2).count(), ended.iter().filter(|e| **e == 18).count());
    assert!(short >= 3 && (1..=4).contains(&whole), "{ended:?}");
    assert_eq!(sweep(&w, "h.toml", head, &[]).out.lines().next(), ran.out.lines().next());
}

#[test]
fn tpe_learns_from_validation_data_and_goes_on_where_it_was() {
    let w = Workspace::default();
    let head = "[tpe]\nbudget = 12\nseed = 1\n[tpe.space]\noptimizer.learning_rate = { log = [1e-6, 1e-1] }\n\
                loss.kind = { choices = [\"bce\", \"any_class\"] }\nloss.lambda = { uniform = [0.0, 0.2] }\n\
                [conditions.\"loss.lambda\"]\n\"loss.kind\" = \"any_class\"";
    let ran = sweep(&w, "t.toml", head, &["--jobs", "2"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(trials(&w).len(), 12);
    let again = sweep(&w, "t.toml", head, &["--jobs", "2"]);
    assert_eq!(again.out, ran.out);
    assert!(again.err.matches("0 of them to run").count() == 6, "{}", again.err);
    w.file("u.toml", &format!("{head}\n{}", BASE.replace("validation = 0.15\n", "")));
    let refused = w.run(&["sweep", "u.toml", "--backend", "flex", "--out", "runs"]);
    assert!(refused.code == 2 && refused.error().contains("never at the test split"), "{}", refused.err);
}

#[test]
fn mistakes_are_named_before_anything_runs() {
    let w = Workspace::default();
    for (head, message) in [
        ("[grid]\nloss.lamda = [0.1]", "lamda is no setting"),
        ("[grid]\nloss.kind = []", "grid.loss.kind is empty: nothing to run"),
        ("[grid]\nloss.kind = \"bce\"", "grid.loss.kind = \"bce\" is no list of values"),
        (
            "[grid]\nloss.kind = [\"bce\"]\nloss.lambda = [0.1]\n[conditions.\"loss.lambda\"]\n\"loss.kind\" = \"any_class\"",
            "conditions.loss.lambda excludes loss.lambda from every trial",
        ),
        ("metric = \"f1_makro\"", "metric = `f1_makro` is no metric; did you mean `f1_macro`?"),
        ("seeds = []", "seeds is empty: nothing to run"),
        ("[random]\nbudget = 0\n[random.space]", "random.budget = 0: nothing to run"),
        (
            "[random]\nbudget = 2\n[random.space]\noptimizer.learning_rate = { logg = [1, 2] }",
            "known: uniform, log, integers, choices",
        ),
        (
            "[random]\nbudget = 2\n[random.space]\noptimizer.learning_rate = { log = [0.0, 1.0] }",
            "random.space.optimizer.learning_rate: both numbers must be above 0",
        ),
        ("[grid]\nloss.kind = [\"bce\"]\n[tpe]\nbudget = 2\n[tpe.space]", "tpe goes without grid, random and halving"),
        ("[griid]\nloss.kind = [\"bce\"]", "unknown field `griid`"),
        ("[halving]\nfirst = 0", "halving.first must be at least 1"),
    ] {
        let ran = sweep(&w, "bad.toml", head, &[]);
        assert_eq!(ran.code, 2, "{head}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(message), "{head}: {}", ran.err);
        assert!(!w.path("runs/trials").exists(), "{head}");
    }
    assert_eq!(w.run(&["sweep", "none.toml"]).error(), "error: none.toml: no such sweep file");
    w.file("s.toml", BASE);
    let mut command = w.command(&["sweep", "s.toml", "--launcher", "slurm", "--out", "runs"]);
    let ran = Ran::of(command.env("PATH", ""));
    assert_eq!(ran.code, 2);
    assert!(
        ran.error().starts_with("error: sbatch: not found; Slurm's commands must be on the PATH"),
        "{}",
        ran.error()
    );
}

/// A Slurm cluster of this machine alone; stopped at the end.
#[cfg(target_os = "linux")]
struct Cluster {
    folder: tempfile::TempDir,
    conf: String,
}

#[cfg(target_os = "linux")]
impl Cluster {
    fn script(command: &str, folder: &std::path::Path) -> std::process::Output {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/slurm-one-node");
        std::process::Command::new(script).arg(command).arg(folder).output().unwrap()
    }

    fn start() -> Option<Self> {
        let has = |name: &str| {
            ["/usr/bin", "/usr/sbin"].iter().any(|folder| std::path::Path::new(folder).join(name).is_file())
        };
        let id = std::process::Command::new("id").arg("-u").output().unwrap();
        if !(has("slurmctld") && has("munged") && id.stdout == b"0\n") {
            eprintln!("SKIPPED: a cluster needs root, slurm-wlm and munge");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let started = Self::script("start", folder.path());
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let conf = folder.path().join("slurm.conf").display().to_string();
        Some(Self { folder, conf })
    }

    fn ask(&self, command: &str, arguments: &[&str]) -> String {
        let output =
            std::process::Command::new(command).args(arguments).env("SLURM_CONF", &self.conf).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[cfg(target_os = "linux")]
impl Drop for Cluster {
    fn drop(&mut self) {
        self.ask("scancel", &["--user", "root"]);
        Self::script("stop", self.folder.path());
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_job_array_survives_its_submitter_and_a_killed_job() {
    let Some(cluster) = Cluster::start() else { return };
    let w = Workspace::default();
    let head = "seeds = [0, 1, 2]\n[slurm]\npartition = \"main\"\ncpus = 1\nmemory = \"200M\"\n[grid]\n\
                loss.kind = [\"bce\", \"any_class\"]\noptimizer.learning_rate = [0.01, 0.003]\ntrain.epochs = [600]";
    w.file("c.toml", &format!("{head}\n{BASE}"));
    let args = ["sweep", "c.toml", "--backend", "flex", "--out", "runs", "--launcher", "slurm"];
    let command = || {
        let mut command = w.command(&args);
        command.env("SLURM_CONF", &cluster.conf);
        command
    };
    let listed = Ran::of(command().arg("--dry-run"));
    for words in ["#SBATCH --array=0-11", "#SBATCH --partition=main", "#SBATCH --mem=200M", "12 trials"] {
        assert!(listed.out.contains(words), "{}", listed.out);
    }
    // The submitting process dies; the array goes on.
    let mut submitter = command().spawn().unwrap();
    let since = Instant::now();
    let running = || cluster.ask("squeue", &["--noheader", "--states", "RUNNING", "--format", "%i"]);
    while running().trim().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(60), "no job runs: {}", cluster.ask("squeue", &[]));
        std::thread::sleep(Duration::from_millis(50));
    }
    submitter.kill().unwrap();
    submitter.wait().unwrap();
    // One of its jobs is killed.
    let job = running().lines().next().unwrap_or_default().trim().to_owned();
    cluster.ask("scancel", &["--full", "--signal=KILL", &job]);
    // The same command waits for the array and submits what is missing again.
    let ran = Ran::of(&mut command());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("is in the queue already: waiting for it"), "{}", ran.err);
    assert!(ran.err.contains("submitted job "), "the killed trial was not submitted again: {}", ran.err);
    let (head_row, rows) = results(&w, "c");
    let column = |name: &str| head_row.iter().position(|h| h == name).unwrap();
    let done: BTreeSet<&String> = rows.iter().map(|r| &r[column("trial")]).collect();
    assert_eq!(done.len(), 12);
    // What cannot be asked for is refused, with what sbatch said; and a sweep can be cancelled.
    w.file("bad.toml", &format!("{}\n{BASE}", head.replace("\"main\"", "\"nowhere\"").replace("[600]", "[601]")));
    let refused = Ran::of(
        w.command(&["sweep", "bad.toml", "--out", "runs", "--launcher", "slurm"]).env("SLURM_CONF", &cluster.conf),
    );
    assert_eq!(refused.code, 1);
    assert!(
        refused.error().starts_with("error: sbatch refused ") && refused.err.contains("partition"),
        "{}",
        refused.err
    );
    w.file("long.toml", &format!("{}\n{BASE}", head.replace("[600]", "[100000]")));
    let long = ["sweep", "long.toml", "--backend", "flex", "--out", "runs", "--launcher", "slurm"];
    let mut submitter = w.command(&long).env("SLURM_CONF", &cluster.conf).spawn().unwrap();
    while running().trim().is_empty() {
        std::thread::sleep(Duration::from_millis(50));
    }
    submitter.kill().unwrap();
    submitter.wait().unwrap();
    let cancelled =
        Ran::of(w.command(&["sweep", "cancel", "long.toml", "--out", "runs"]).env("SLURM_CONF", &cluster.conf));
    assert!(cancelled.out.starts_with("cancelled job "), "{}{}", cancelled.out, cancelled.err);
}
