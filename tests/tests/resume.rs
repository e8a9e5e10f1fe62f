//! Runs that are killed, interrupted or damaged, and go on.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tests::{Ran, SMALL, Workspace};

const LONG: &[&str] =
    &["--set", "train.epochs=12", "--set", "train.checkpoint_seconds=0", "--set", "model.dropout=0.2"];

/// Long enough that a signal after a few epochs finds the run at work, on a busy machine too.
const MANY: &str = "train.epochs=40";

fn start(w: &Workspace, backend: &str, out: &str) -> Child {
    start_with(w, backend, out, &[])
}

fn start_with(w: &Workspace, backend: &str, out: &str, more: &[&str]) -> Child {
    let large: &[&str] = &["--set", "data.generate.instances=6000", "--set", MANY];
    let args = [SMALL, LONG, &["--backend", backend, "--out", out], large, more].concat();
    let args: Vec<&str> = args[2..].to_vec();
    w.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until `run` has written `epochs` events.
fn wait_for_epochs(w: &Workspace, run: &str, epochs: usize) {
    let started = Instant::now();
    let events = w.path(run).join("events.jsonl");
    while std::fs::read_to_string(&events).unwrap_or_default().lines().count() < epochs {
        assert!(started.elapsed() < Duration::from_secs(120), "no {epochs} epochs in two minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
}

fn same_result(w: &Workspace, a: &str, b: &str) {
    assert_eq!(w.timeless_events(a), w.timeless_events(b));
    let weights = |run: &str| std::fs::read(w.path(run).join("model/model.safetensors")).unwrap();
    assert!(weights(a) == weights(b), "the models differ");
    assert_eq!(w.json(&format!("{a}/metrics.json"))["split"], w.json(&format!("{b}/metrics.json"))["split"]);
}

fn killed_in_an_epoch_and_resumed(backend: &str) {
    let w = Workspace::default();
    assert!(start(&w, backend, "whole").wait().unwrap().success());
    let mut child = start(&w, backend, "killed");
    wait_for_epochs(&w, "killed", 3);
    std::thread::sleep(Duration::from_millis(15));
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert!(w.timeless_events("killed").len() < 40, "the run ended before it could be killed");
    w.ok(&["--backend", backend, "--out", "killed", "--resume"]);
    same_result(&w, "whole", "killed");
}

#[test]
fn a_killed_run_resumes_bit_for_bit_on_flex() {
    killed_in_an_epoch_and_resumed("flex");
}

#[test]
fn a_killed_run_resumes_bit_for_bit_on_ndarray() {
    killed_in_an_epoch_and_resumed("ndarray");
}

#[test]
fn an_interrupt_writes_a_checkpoint_exits_130_and_the_run_goes_on_the_same() {
    let w = Workspace::default();
    assert!(start(&w, "flex", "whole").wait().unwrap().success());
    let child = start(&w, "flex", "stopped");
    wait_for_epochs(&w, "stopped", 2);
    std::thread::sleep(Duration::from_millis(7));
    signal(&child, "-INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert!(w.path("stopped/checkpoint/last.ckpt").is_file());
    w.ok(&["--backend", "flex", "--out", "stopped", "--resume"]);
    same_result(&w, "whole", "stopped");
}

#[test]
fn thresholds_and_their_bank_go_on_the_same_after_an_interrupt_inside_an_epoch() {
    let w = Workspace::default();
    let adaptive: &[&str] = &["--set", "loss.kind=adaptive_threshold", "--set", "loss.neighbours=embedding"];
    assert!(start_with(&w, "flex", "whole", adaptive).wait().unwrap().success());
    let child = start_with(&w, "flex", "stopped", adaptive);
    wait_for_epochs(&w, "stopped", 2);
    std::thread::sleep(Duration::from_millis(60));
    signal(&child, "-INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    w.ok(&["--backend", "flex", "--out", "stopped", "--resume"]);
    same_result(&w, "whole", "stopped");
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_other_is_used_only_when_told() {
    let w = Workspace::default();
    w.ok(&[SMALL, LONG, &["--out", "run"]].concat());
    let path = w.path("run/checkpoint/last.ckpt");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let ran = w.run(&["--backend", "flex", "--out", "run", "--resume"]);
    assert_eq!(ran.code, 2);
    let error = ran.error();
    assert!(error.starts_with("error: run/checkpoint/last.ckpt: the checkpoint is corrupted: checksum "), "{error}");
    assert!(error.ends_with("--resume best continues from run/checkpoint/best.ckpt"), "{error}");
    w.ok(&["--backend", "flex", "--out", "run", "--resume", "best"]);
    std::fs::write(&path, "nonsense").unwrap();
    let ran = w.run(&["--backend", "flex", "--out", "run", "--resume"]);
    assert!(
        ran.error().starts_with("error: run/checkpoint/last.ckpt: not a checkpoint, or not whole; "),
        "{}",
        ran.error()
    );
}

#[test]
fn a_loss_that_is_not_finite_stops_with_step_rate_and_checkpoint() {
    let w = Workspace::default();
    let ran = w.run(
        &[SMALL, LONG, &["--out", "run", "--set", "optimizer.kind=sgd", "--set", "optimizer.learning_rate=1e30"]]
            .concat(),
    );
    assert_eq!(ran.code, 1, "{}", ran.err);
    let error = ran.error();
    assert!(error.starts_with("error: the loss is "), "{error}");
    assert!(
        error.contains(" at step ") && error.contains("(learning rate 1000000000000000000000000000000)"),
        "{error}"
    );
    assert!(error.contains("checkpoint"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_checkpoint_whole() {
    let w = Workspace::default();
    w.ok(&[SMALL, LONG, &["--out", "run"]].concat());
    let before = std::fs::read(w.path("run/checkpoint/last.ckpt")).unwrap();
    // Files may not grow beyond 32 KiB: writing the next checkpoint fails as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$0\" --backend flex --out run --resume --set train.epochs=20";
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", script]).arg(tests::binary()).current_dir(w.path(""));
    let ran = Ran::of(&mut shell);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.error().starts_with("error: run/checkpoint/"), "{}", ran.error());
    assert!(std::fs::read(w.path("run/checkpoint/last.ckpt")).unwrap() == before);
    let leftovers = std::fs::read_dir(w.path("run/checkpoint")).unwrap().flatten();
    assert!(leftovers.map(|e| e.file_name()).all(|n| !n.to_string_lossy().starts_with(".part")));
    w.ok(&["--backend", "flex", "--out", "run", "--resume", "--set", "train.epochs=14"]);
}

#[test]
fn only_the_number_of_epochs_may_change_on_resume() {
    let w = Workspace::default();
    w.ok(&[SMALL, LONG, &["--out", "run"]].concat());
    let ran = w.run(&["--backend", "flex", "--out", "run", "--resume", "--set", "train.batch_size=64"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.error(),
        "error: run/config.toml: the settings differ from the run's; only train.epochs and train.checkpoint_seconds may change on --resume"
    );
    w.ok(&["--backend", "flex", "--out", "run", "--resume", "--set", "train.epochs=15"]);
    assert_eq!(w.timeless_events("run").len(), 15);
}

#[test]
fn early_stopping_ends_a_run_that_no_longer_gets_better() {
    let w = Workspace::default();
    let stop = "train.early_stopping={ metric = \"f1_macro\", patience = 2 }";
    w.ok(&[
        SMALL,
        &["--out", "run", "--set", "train.epochs=200", "--set", "optimizer.learning_rate=0.01", "--set", stop],
    ]
    .concat());
    let events = w.timeless_events("run");
    assert!(events.len() < 200, "{} epochs", events.len());
    let best = w.json("run/metrics.json")["epoch"].as_u64().unwrap() as usize;
    assert_eq!(events.len(), best + 2);
    let f1 = |e: &serde_json::Value| e["validation"]["f1_macro"].as_f64().unwrap();
    assert!(events.iter().all(|e| f1(e) <= f1(&events[best - 1])));
    assert_eq!(
        w.json("run/metrics.json")["split"]["validation"]["f1_macro"],
        events[best - 1]["validation"]["f1_macro"]
    );
}
