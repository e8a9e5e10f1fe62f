//! Samplers that select, and folds, as a user trains with them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{SMALL, Workspace};

const KINDS: [&str; 5] = ["adaptive", "chain", "hardest", "boundary", "uncertainty"];

#[test]
fn every_sampler_trains_with_other_losses_and_says_what_it_showed() {
    let w = Workspace::default();
    for kind in KINDS {
        let sampler = format!("sampler.kind={kind}");
        let settings: &[&str] =
            &["--set", &sampler, "--set", "train.epochs=8", "--set", "loss.kind=any_class", "--out", kind];
        w.ok(&[SMALL, settings].concat());
        let losses: Vec<f64> = w.timeless_events(kind).iter().map(|e| e["loss"].as_f64().unwrap()).collect();
        assert!(losses[2] < losses[0], "{kind}: {losses:?}");
        let sampling = w.json(&format!("{kind}/sampling.json"));
        let most = sampling["instances"][4].as_f64().unwrap();
        assert!(most > 1.0, "{kind}: {sampling}");
        assert_eq!(sampling["labels"].as_array().unwrap().len(), 12);
        let html = std::fs::read_to_string(w.path(kind).join("report.html")).unwrap();
        assert!(html.contains("<h2>Sampler</h2>") && html.contains("times trained on, by training positives"));
    }
}

#[test]
fn warm_up_epochs_are_those_of_the_random_sampler() {
    let w = Workspace::default();
    let epochs: &[&str] = &["--set", "train.epochs=3"];
    w.ok(&[SMALL, epochs, &["--out", "random"]].concat());
    w.ok(&[SMALL, epochs, &["--set", "sampler.kind=chain", "--out", "chain"]].concat());
    assert_eq!(w.timeless_events("random"), w.timeless_events("chain"));
}

#[test]
fn an_interrupted_selection_goes_on_the_same_bit_for_bit() {
    let w = Workspace::default();
    for (name, settings) in [
        ("adaptive", vec!["sampler.kind=adaptive"]),
        ("epoch", vec!["sampler.kind=adaptive", "sampler.refresh=epoch"]),
        ("chain", vec!["sampler.kind=chain", "sampler.pressure={ from = 16.0, to = 2.0 }"]),
        ("uncertainty", vec!["sampler.kind=uncertainty"]),
    ] {
        let sets: Vec<&str> = settings.iter().flat_map(|s| ["--set", *s]).collect();
        let more = [
            "--set",
            "data.generate.instances=4000",
            "--set",
            "train.epochs=30",
            "--set",
            "train.checkpoint_seconds=0",
        ];
        let (whole, stopped) = (format!("{name}-whole"), format!("{name}-stopped"));
        w.ok(&[SMALL, &sets, &more, &["--out", &whole]].concat());
        let args = [SMALL, &sets, &more, &["--out", &stopped]].concat();
        let child = w.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (started, events) = (Instant::now(), w.path(&stopped).join("events.jsonl"));
        while std::fs::read_to_string(&events).unwrap_or_default().lines().count() < 5 {
            assert!(started.elapsed() < Duration::from_secs(120), "no five epochs in two minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(7));
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130), "{name}");
        w.ok(&["--backend", "flex", "--out", &stopped, "--resume"]);
        assert_eq!(w.timeless_events(&whole), w.timeless_events(&stopped), "{name}");
        let weights = |run: &str| std::fs::read(w.path(run).join("model/model.safetensors")).unwrap();
        assert!(weights(&whole) == weights(&stopped), "{name}: the models differ");
        assert_eq!(w.json(&format!("{whole}/sampling.json")), w.json(&format!("{stopped}/sampling.json")));
    }
}

#[test]
fn imbalance_weights_are_kept_for_the_same_data() {
    let w = Workspace::default();
    let run = |out: &str| {
        let mut command = w.command(
            &[SMALL, &["-v", "--set", "sampler.kind=adaptive", "--set", "train.epochs=4", "--out", out]].concat(),
        );
        tests::Ran::of(command.env("LONGTAIL_CACHE", w.path("cache")))
    };
    let (first, second) = (run("a"), run("b"));
    assert_eq!((first.code, second.code), (0, 0), "{}", first.err);
    assert!(first.err.contains("imbalance weights of ") && !second.err.contains("imbalance weights of "));
    assert_eq!(w.timeless_events("a"), w.timeless_events("b"));
}

#[test]
fn folds_hold_every_instance_back_once_and_average_over_their_runs() {
    let w = Workspace::default();
    w.ok(&["data", "generate", "all.txt", "--instances", "300", "--features", "50", "--labels", "8"]);
    w.ok(&["data", "split", "all.txt", "parts", "--share", "0.2"]);
    w.file(
        "c.toml",
        "[data]\ntrain = \"parts/train.txt\"\ntest = \"parts/test.txt\"\n[train]\nepochs = 3\n[report]\npredictions = true\n",
    );
    let ran = w.ok(&["--config", "c.toml", "--folds", "5", "--out", "run", "--backend", "flex"]);
    assert!(ran.out.contains("| test, 5 folds") && ran.out.contains(" ± "), "{}", ran.out);
    let summary = w.json("run/metrics.json");
    let folds: Vec<Value> = (0..5).map(|f| w.json(&format!("run/fold-{f}/metrics.json"))).collect();
    for split in ["test", "validation"] {
        let of: Vec<f64> = folds.iter().map(|f| f["split"][split]["f1_micro"].as_f64().unwrap()).collect();
        let mean = of.iter().sum::<f64>() / 5.0;
        let sd = (of.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
        assert!((summary["split"][split]["f1_micro"].as_f64().unwrap() - mean).abs() < 1e-12);
        assert!((summary["deviation"][split]["f1_micro"].as_f64().unwrap() - sd).abs() < 1e-12);
    }
    let tested: usize = (0..5)
        .map(|f| std::fs::read_to_string(w.path(&format!("run/fold-{f}/predictions.jsonl"))).unwrap().lines().count())
        .sum();
    // A half of every fold, rounded either way.
    assert!((147..=153).contains(&tested), "{tested}");
    // One fold is a run like any other.
    w.ok(&["evaluate", "run/fold-2", "--backend", "flex"]);
    w.ok(&["--config", "c.toml", "--set", "data.folds=5", "--set", "data.fold=2", "--out", "two", "--backend", "flex"]);
    assert_eq!(w.json("two/metrics.json")["split"], folds[2]["split"]);
    // What is done is not done again.
    std::fs::remove_dir_all(w.path("run/fold-3")).unwrap();
    w.ok(&["--out", "run", "--resume", "--backend", "flex"]);
    assert_eq!(w.json("run/metrics.json")["split"], summary["split"]);
}

#[test]
fn labels_with_few_positives_are_left_out_everywhere() {
    let w = Workspace::default();
    w.ok(&["data", "generate", "all.txt", "--instances", "300", "--features", "50", "--labels", "20"]);
    w.ok(&["data", "split", "all.txt", "parts", "--share", "0.3"]);
    w.file(
        "c.toml",
        "[data]\ntrain = \"parts/train.txt\"\ntest = \"parts/test.txt\"\nmin_positives = 21\n[train]\nepochs = 3\n",
    );
    let ran = w.ok(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
    assert!(ran.err.contains(" of 20 labels have at least 21 positives and are kept"), "{}", ran.err);
    let model = w.json("run/model/model.json");
    let kept = model["kept"]["labels"].as_array().unwrap();
    assert!(kept.len() < 20 && model["labels"].as_u64().unwrap() as usize == kept.len());
    // The labels keep the names they have in the files, and a file with all labels is evaluated as it is.
    assert_eq!(model["label_names"][0], kept[0].to_string());
    let found = w.ok(&["evaluate", "run", "--data", "parts/test.txt", "--json", "--backend", "flex"]).out;
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found, w.json("run/metrics.json")["split"]["test"]);
    let lines = w.ok(&["predict", "run", "parts/test.txt", "--backend", "flex"]).out;
    assert_eq!(lines.lines().count(), 90);
}

#[test]
fn what_cannot_be_selected_is_refused_by_name() {
    let data =
        "[data]\n[data.generate]\ninstances = 200\nfeatures = 30\nlabels = 5\n[train]\nepochs = 10\nbatch_size = 64\n";
    for (text, expected) in [
        (
            "[sampler]\nkind = \"adaptive\"\npressure = 0.5\n",
            "error: sampler.pressure = 0.5 is out of range: at least 1",
        ),
        (
            "[sampler]\nkind = \"chain\"\npressure = { from = 4.0, to = 0.0 }\n",
            "error: sampler.pressure.to = 0 is out of range: at least 1",
        ),
        (
            "[sampler]\nkind = \"adaptive\"\nwarmup = 11\n",
            "error: sampler.warmup = 11 epochs are more than train.epochs = 10: nothing would be selected",
        ),
        ("[sampler]\nkind = \"hardest\"\npool = 0\n", "error: sampler.pool = 0 is out of range: at least 1"),
        ("[sampler]\nkind = \"uncertainty\"\nwindow = 1\n", "error: sampler.window = 1 is out of range: at least 2"),
        (
            "[sampler]\nkind = \"adaptiv\"\n",
            "error: c.toml:10: `adaptiv` is no choice in [sampler]\n  known: random, adaptive, chain, hardest, boundary, \
             uncertainty      did you mean `adaptive`?",
        ),
        (
            "[sampler]\nkind = \"adaptive\"\npresure = 2.0\n",
            "error: c.toml:11: sampler.presure is no setting of adaptive\n  known: pressure, warmup, imbalance, refresh      \
             did you mean `pressure`?",
        ),
    ] {
        let w = Workspace::default();
        w.file("c.toml", &format!("{data}{text}"));
        let ran = w.run(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
        assert_eq!((ran.code, ran.error().as_str()), (2, expected));
        assert!(!w.path("run").exists(), "{text}: a run folder is left");
    }
    let w = Workspace::default();
    w.file("c.toml", &data.replace("batch_size = 64", "batch_size = 256"));
    let args = ["--config", "c.toml", "--out", "run", "--backend", "flex", "--set"];
    for (setting, expected) in [
        (
            "sampler.kind=chain",
            "error: train.batch_size = 256 is larger than the training data: 200 instances to select from",
        ),
        ("data.folds=1", "error: data.folds = 1 is out of range: at least 2"),
        ("data.fold=1", "error: data.fold needs data.folds"),
        ("data.min_positives=500", "error: data.min_positives = 500: no label has as many positives"),
    ] {
        let ran = w.run(&[&args[..], &[setting]].concat());
        assert_eq!((ran.code, ran.error().as_str()), (2, expected));
        assert!(!w.path("run").exists());
    }
    let ran = w.run(&[&args[..], &["data.folds=5", "--set", "data.test=0.2"]].concat());
    let expected = "error: data.folds makes test and validation data itself; set data.test and data.validation to 0";
    assert_eq!((ran.code, ran.error().as_str()), (2, expected));
}
