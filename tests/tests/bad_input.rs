//! Requests that cannot be met: exit 2, one clear message, nothing half-written.

use tests::{SMALL, Workspace};

fn config(train: &str) -> String {
    format!("[data]\ntrain = \"{train}\"\n[train]\nepochs = 1\n")
}

/// Trains on `content` stored as `name`; returns exit code and message, and checks that no run folder is left.
fn refused(name: &str, content: &[u8]) -> (i32, String) {
    let w = Workspace::default();
    std::fs::write(w.path(name), content).unwrap();
    w.file("c.toml", &config(name));
    let ran = w.run(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
    assert!(!w.path("run").exists(), "{name}: a run folder is left");
    (ran.code, ran.error().replace(&format!("{}/", w.path("").display()).replace("//", "/"), ""))
}

#[test]
fn bad_data_is_named_and_nothing_is_written() {
    let mut gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec();
    gzip.extend([0x4b, 0x4c]);
    let cases: &[(&str, &[u8], &str)] = &[
        ("e.txt", b"", "error: e.txt: the file is empty"),
        ("g.txt.gz", &gzip, "error: g.txt.gz: the compressed file is truncated (unexpected end)"),
        ("h.txt", b"2 3 2\n0 0:1\n", "error: h.txt:1:1: the header says 2 instances, the file has 1"),
        ("f.txt", b"1 3 2\n0 5:1\n", "error: f.txt:2:3: feature index 5 is beyond the header's 3 features"),
        ("l.txt", b"1 3 2\n2 1:1\n", "error: l.txt:2:1: label index 2 is beyond the header's 2 labels (0 to 1)"),
        ("n.txt", b"0 1:one\n", "error: n.txt:1:5: `one` is no number"),
        ("i.txt", b"0 1:inf\n", "error: i.txt:1:5: `inf` is no finite number"),
        ("d.txt", b"0 1:1 1:2\n", "error: d.txt:1:7: feature 1 stands twice in this row"),
        ("a.txt", b"2 3 2\n 0:1\n 1:1\n", "error: all 2 training instances are negative: none has a label"),
        ("z.txt", b" 1:1\n 2:1\n", "error: the data has 0 labels"),
    ];
    for (name, content, expected) in cases {
        let (code, error) = refused(name, content);
        assert_eq!((code, error.as_str()), (2, *expected));
    }
}

#[test]
fn missing_files_folders_and_label_files_are_named() {
    let w = Workspace::default();
    std::fs::create_dir(w.path("folder")).unwrap();
    for (train, expected) in
        [("none.txt", "none.txt: no such file"), ("folder", "folder: is a directory, expected a data file")]
    {
        w.file("c.toml", &config(train));
        let ran = w.run(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
        assert_eq!(ran.code, 2);
        assert!(ran.error().ends_with(expected), "{}", ran.error());
        assert!(!w.path("run").exists());
    }
    let ran = w.run(&["--config", "none.toml"]);
    assert_eq!((ran.code, ran.error()), (2, "error: none.toml: no such config file".into()));
}

#[test]
fn labels_never_seen_are_a_warning_with_a_count() {
    let w = Workspace::default();
    w.file("t.txt", "3 2 5\n0 0:1\n0,1 1:1\n 0:1\n");
    w.file("c.toml", &config("t.txt"));
    let ran = w.ok(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
    assert!(ran.err.contains("3 of 5 labels have no positive in the training split"), "{}", ran.err);
}

#[test]
fn bad_settings_are_named_with_line_key_and_nearest_name() {
    let cases = [
        (
            "[loss]\nkind = \"bce\"\npos_wait = 2\n",
            "error: c.toml:3: loss.pos_wait is no setting of bce\n  known: pos_weight, soft_targets      did you mean `pos_weight`?",
        ),
        (
            "seeed = 1\n",
            "error: c.toml:1: seeed is no setting of the config\n  known: seed, data, model, loss, sampler, optimizer, schedule, train, calibration, thresholds, report      did you mean `seed`?",
        ),
        ("[train]\nepochs = 0\n", "error: train.epochs = 0 is out of range: at least 1"),
        (
            "[train]\nmonitor = \"f1_marco\"\n",
            "error: train.monitor = `f1_marco` is no metric; did you mean `f1_macro`?",
        ),
        (
            "[data]\nvalidation = 1.5\n",
            "error: data.validation = 1.5 is out of range: at least 0 and below 1, or a file",
        ),
        ("[train]\nepochs = \"many\"\n", "error: c.toml:1: [train] invalid type: string \"many\", expected usize"),
        ("[data\n", "error: c.toml:1:6: unclosed table, expected `]`"),
        ("seed = 3\n", "error: no data: set data.train to a file, or [data.generate]"),
        (
            "[data]\n[data.generate]\n[train]\nearly_stopping = { metric = \"loss\", patience = 3 }\n",
            "error: train.early_stopping needs validation data; set data.validation",
        ),
        (
            "[data]\n[data.generate]\n[loss]\nkind = \"bce\"\npos_weight = -1.0\n",
            "error: loss.pos_weight = -1 is out of range: above 0",
        ),
        (
            "[data]\n[data.generate]\n[model]\nkind = \"mlp\"\nhidden = [0]\n",
            "error: model.hidden = a layer of 0 units is out of range: every layer at least 1",
        ),
        (
            "[data]\ntrain = \"${NO_SUCH_VARIABLE}/x.txt\"\n",
            "error: c.toml: data: the environment variable NO_SUCH_VARIABLE is not set",
        ),
    ];
    for (text, expected) in cases {
        let w = Workspace::default();
        w.file("c.toml", text);
        let ran = w.run(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
        assert_eq!((ran.code, ran.error().as_str()), (2, expected), "{text}");
        assert!(!w.path("run").exists(), "{text}: a run folder is left");
    }
}

#[test]
fn settings_on_the_command_line_are_named_as_given() {
    let w = Workspace::default();
    let ran = w.run(&["--set", "train.epoch=3"]);
    assert_eq!(ran.error().lines().next(), Some("error: --set train.epoch=3: train.epoch is no setting of [train]"));
    assert_eq!(w.run(&["--set", "epochs"]).error(), "error: --set epochs: expected key=value, as in loss.lambda=0.05");
}

#[test]
fn a_run_folder_that_exists_is_kept_unless_forced() {
    let w = Workspace::default();
    let short: &[&str] = &["--set", "train.epochs=1", "--out", "run"];
    w.ok(&[SMALL, short].concat());
    let ran = w.run(&[SMALL, short].concat());
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.error(),
        "error: run: the folder exists and is not empty; continue the run there with --resume, or replace it with --force"
    );
    w.file("run/notes.txt", "mine");
    w.file("run/labels.json", "of the old run");
    w.ok(&[SMALL, short, &["--force"]].concat());
    assert!(w.path("run/notes.txt").is_file(), "--force removed a file that is no run's");
    assert_ne!(std::fs::read_to_string(w.path("run/labels.json")).unwrap(), "of the old run");
    let ran = w.run(&["--out", "nowhere", "--resume"]);
    assert_eq!((ran.code, ran.error()), (2, "error: nowhere: no run here (no config.toml)".into()));
}

#[test]
fn a_backend_without_an_adapter_or_not_built_is_refused_in_one_message() {
    let w = Workspace::default();
    let mut command = w.command(&["--backend", "wgpu", "--out", "run"]);
    command.env("VK_ICD_FILENAMES", "/dev/null").env("VK_DRIVER_FILES", "/dev/null");
    if cfg!(target_os = "linux") {
        let ran = tests::Ran::of(&mut command);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.error().starts_with("error: backend wgpu: no adapter found."), "{}", ran.err);
        assert!(!w.path("run").exists());
    }
    let ran = w.run(&["--backend", "rocm"]);
    if ran.code != 0 {
        let expected =
            "error: backend rocm is not in this build; build it with: cargo build -p train --release --features rocm";
        assert_eq!((ran.code, ran.error().as_str()), (2, expected));
    }
    assert_eq!(w.run(&["--backend", "gpu"]).code, 2);
}

#[test]
fn predict_and_evaluate_refuse_what_they_cannot_use() {
    let w = Workspace::default();
    w.ok(&[SMALL, &["--set", "train.epochs=1", "--out", "run", "--set", "data.validation=0"]].concat());
    let ran = w.run(&["predict", "run", "none.txt", "--backend", "flex"]);
    assert_eq!((ran.code, ran.error()), (2, "error: none.txt: no such file".into()));
    w.file("bad.txt", "0 1:x\n");
    let ran = w.run(&["predict", "run", "bad.txt", "--backend", "flex", "--output", "out.jsonl"]);
    assert_eq!((ran.code, ran.error()), (2, "error: bad.txt:1:5: `x` is no number".into()));
    assert!(!w.path("out.jsonl").exists() && !w.path("out.part").exists());
    let ran = w.run(&["evaluate", "run", "--split", "validation", "--backend", "flex"]);
    assert_eq!((ran.code, ran.error()), (2, "error: run: the run has no validation split".into()));
    let ran = w.run(&["evaluate", "elsewhere"]);
    assert_eq!((ran.code, ran.error()), (2, "error: elsewhere: no run here (no config.toml)".into()));
}
