//! The deep models, as a user trains them.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::Workspace;

const KINDS: &[&str] = &["c2ae", "mpvae", "clif", "dela", "paca"];

/// Made data, small enough for the slowest of them.
const DATA: &[&str] = &[
    "--quiet",
    "--set",
    "data.generate.instances=500",
    "--set",
    "data.generate.features=40",
    "--set",
    "data.generate.labels=6",
    "--set",
    "data.generate.active=12",
    "--set",
    "data.generate.cardinality=2",
    "--set",
    "data.generate.negatives=0.2",
    "--set",
    "data.generate.signal=0.9",
    "--set",
    "data.validation=0",
];

fn train(w: &Workspace, settings: &[&str], out: &str) {
    let sets: Vec<&str> = settings.iter().flat_map(|s| ["--set", *s]).collect();
    w.ok(&[DATA, &["--backend", "flex"], &sets, &["--out", out, "--force"]].concat());
}

/// Widths that a test has the time for.
fn small(kind: &str) -> Vec<String> {
    let mut sets = vec![format!("model.kind={kind}")];
    sets.extend(match kind {
        "clif" => vec!["model.hidden=64".into()],
        "dela" => vec!["model.latent=12".into()],
        "paca" => vec!["model.latent=6".into(), "model.flow_hidden=32".into(), "model.sigmoids=4".into()],
        "mpvae" => vec!["model.latent=10".into(), "model.samples=20".into()],
        _ => vec!["model.hidden=[64]".into(), "model.label_hidden=64".into()],
    });
    sets
}

fn settings<'a>(own: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    own.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

fn weights(w: &Workspace, run: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(w.path(run).join("model/model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let tensor = |value: &Value| {
        let at = |i: usize| 8 + length + value["data_offsets"][i].as_u64().unwrap() as usize;
        bytes[at(0)..at(1)].to_vec()
    };
    header.as_object().unwrap().iter().map(|(name, value)| (name.clone(), tensor(value))).collect()
}

#[test]
fn every_model_beats_the_frequency_baseline_and_its_losses_are_told_apart() {
    let w = Workspace::default();
    for kind in KINDS {
        let own = small(kind);
        train(&w, &settings(&own, &["train.epochs=40", "thresholds.method=top_k", "thresholds.k=2"]), kind);
        let metrics = w.json(&format!("{kind}/metrics.json"));
        let of = |who: &str| metrics[who]["test"]["map_macro"].as_f64().unwrap();
        assert!(of("split") > of("baseline") + 0.25, "{kind}: {} against {}", of("split"), of("baseline"));
        let events = w.timeless_events(kind);
        let parts = |e: &Value| e["loss_parts"].as_object().unwrap().clone();
        let sum: f64 = parts(&events[39]).values().map(|v| v.as_f64().unwrap()).sum();
        let loss = events[39]["loss"].as_f64().unwrap();
        assert!((sum - loss).abs() < 1e-4 * loss.abs().max(1.0), "{kind}: parts {:?}, loss {loss}", parts(&events[39]));
        assert!(loss < 0.9 * events[0]["loss"].as_f64().unwrap(), "{kind}");
        let page = std::fs::read_to_string(w.path(kind).join("report.html")).unwrap();
        for part in parts(&events[0]).keys() {
            assert!(page.contains(part.as_str()), "{kind}: {part} is not on the page");
        }
        w.ok(&["report", kind]);
    }
}

#[test]
fn every_model_can_learn_a_few_instances_by_heart() {
    let w = Workspace::default();
    for kind in KINDS {
        let own = small(kind);
        let drop = if *kind == "paca" { "train.epochs=400" } else { "train.epochs=300" };
        let sets = settings(
            &own,
            &["data.generate.instances=32", "data.test=0", "model.dropout=0", "optimizer.learning_rate=0.003", drop],
        );
        train(&w, &sets, kind);
        let ran = w.ok(&["evaluate", kind, "--split", "train", "--json", "--backend", "flex"]);
        let metrics: Value = serde_json::from_str(&ran.out).unwrap();
        let found = metrics["f1_macro"].as_f64().unwrap();
        assert!(found > 0.95, "{kind}: macro-F1 {found}");
    }
}

#[test]
fn a_run_that_goes_on_ends_as_one_that_never_stopped() {
    let w = Workspace::default();
    for kind in KINDS {
        let own = small(kind);
        train(&w, &settings(&own, &["train.epochs=4"]), "whole");
        train(&w, &settings(&own, &["train.epochs=2", "train.checkpoint_seconds=0"]), "half");
        w.ok(&["--out", "half", "--resume", "--set", "train.epochs=4", "--backend", "flex", "--quiet"]);
        assert_eq!(w.timeless_events("whole"), w.timeless_events("half"), "{kind}");
        assert!(weights(&w, "whole") == weights(&w, "half"), "{kind}: the models differ");
    }
}

#[test]
fn backends_kernels_and_forms_of_input_train_alike() {
    let w = Workspace::default();
    for kind in KINDS {
        let own = small(kind);
        let losses = |more: &[&str], backend: &str| -> Vec<f64> {
            let sets = settings(&own, more);
            let sets: Vec<&str> = sets.iter().flat_map(|s| ["--set", *s]).collect();
            let fixed = ["--backend", backend, "--set", "train.epochs=3", "--set", "optimizer.rows=exact"];
            w.ok(&[DATA, &fixed, &sets, &["--out", "run", "--force"]].concat());
            w.timeless_events("run").iter().map(|e| e["loss"].as_f64().unwrap()).collect()
        };
        let reference = losses(&["train.kernels=composed", "model.input=dense"], "flex");
        for (more, backend) in [
            (&["train.kernels=composed", "model.input=sparse"][..], "flex"),
            (&["model.input=dense"], "flex"),
            (&["model.input=sparse"], "ndarray"),
        ] {
            for (found, expected) in losses(more, backend).iter().zip(&reference) {
                assert!((found - expected).abs() < 1e-4 * expected, "{kind} {more:?} {backend}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn the_gates_of_dela_learn_at_their_own_rate() {
    let w = Workspace::default();
    let own = small("dela");
    for (out, epochs) in [("one", "train.epochs=1"), ("three", "train.epochs=3")] {
        train(&w, &settings(&own, &["model.gate_rate=0", epochs]), out);
    }
    let (one, three) = (weights(&w, "one"), weights(&w, "three"));
    let of_gates = |name: &str| name.contains("gates");
    assert_eq!(one.keys().filter(|n| of_gates(n)).count(), 3);
    for (name, values) in one.iter().filter(|(n, _)| n.as_str() != "__metadata__") {
        assert_eq!(three[name] == *values, of_gates(name), "{name}");
    }
}

#[test]
fn every_sampler_threshold_and_loss_goes_with_the_deep_models() {
    let w = Workspace::default();
    let losses = ["loss.kind=any_class", "loss.kind=adaptive_threshold", "loss.kind=two_way"];
    for kind in ["clif", "dela", "paca", "c2ae"] {
        let mut own = small(kind);
        if kind == "c2ae" {
            own.push("model.label_loss=configured".into());
        }
        for loss in losses {
            let more = [loss, "train.epochs=2", "data.validation=0.2", "thresholds.method=per_label"];
            train(&w, &settings(&own, &more), "run");
        }
    }
    for kind in KINDS {
        let own = small(kind);
        for sampler in ["adaptive", "chain", "uncertainty", "boundary", "hardest"] {
            let sampler = format!("sampler.kind={sampler}");
            train(&w, &settings(&own, &[&sampler, "sampler.warmup=1", "train.epochs=3"]), "run");
        }
    }
    for kind in ["clif", "dela"] {
        let own = small(kind);
        train(&w, &settings(&own, &["loss.negatives=2", "train.epochs=2", "data.generate.labels=20"]), "run");
    }
}

#[test]
fn what_does_not_go_with_a_model_is_refused_in_its_words() {
    let w = Workspace::default();
    let refused = |settings: &[&str]| {
        let sets: Vec<&str> = settings.iter().flat_map(|s| ["--set", *s]).collect();
        let ran = w.run(&[DATA, &["--backend", "flex"], &sets, &["--out", "run"]].concat());
        assert_eq!(ran.code, 2, "{settings:?}: {}", ran.err);
        assert!(!w.path("run").exists(), "{settings:?}: a run folder is left");
        ran.error()
    };
    for (settings, message) in [
        (
            &["model.kind=c2ae", "loss.kind=focal"][..],
            "error: model.kind = \"c2ae\" is trained by losses of its own, beside which this loss would do nothing; set \
             model.label_loss = \"configured\", or leave loss.kind = \"bce\"",
        ),
        (
            &["model.kind=mpvae", "loss.kind=adaptive_threshold"],
            "error: model.kind = \"mpvae\" is trained by losses of its own, beside which this loss would do nothing; \
             leave loss.kind = \"bce\"",
        ),
        (
            &["model.kind=paca", "loss.negatives=2"],
            "error: loss.negatives needs a model whose labels can be computed apart, which paca is not: mlp, clif or \
             dela; or set loss.negatives = \"all\"",
        ),
        (&["model.kind=dela", "model.latent=0"], "error: model.latent = 0 is out of range: 1 to 4096, or \"auto\""),
    ] {
        assert_eq!(refused(settings), message);
    }
    w.file("one.txt", "3 2 1\n0 0:1\n 1:1\n0 0:1 1:1\n");
    let config = w.file("one.toml", "[data]\ntrain = \"one.txt\"\n[model]\nkind = \"c2ae\"\n[train]\nepochs = 1\n");
    let ran = w.run(&["--config", config.to_str().unwrap(), "--backend", "flex", "--out", "run"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    let message = "error: model.kind = c2ae: it ranks labels against each other, and the data has only one; set \
                   model.label_loss = \"configured\"";
    assert_eq!(ran.error(), message);
}

#[test]
fn labels_that_never_come_together_are_said_once_and_train_all_the_same() {
    let w = Workspace::default();
    let rows: String = (0..60).map(|i| format!("{} {}:1\n", i % 3, i % 5)).collect();
    w.file("apart.txt", &format!("60 5 3\n{rows}"));
    w.file("c.toml", "[data]\ntrain = \"apart.txt\"\n[model]\nkind = \"clif\"\nhidden = 16\n[train]\nepochs = 2\n");
    let ran = w.ok(&["--config", "c.toml", "--backend", "flex", "--out", "run"]);
    let message = "no two labels come together: the label graph of clif has no edges";
    assert_eq!(ran.err.matches(message).count(), 1, "{}", ran.err);
}

#[test]
fn labels_that_do_not_fit_together_are_gone_over_in_pieces_and_that_is_said_once() {
    let w = Workspace::default();
    let sets = [
        "model.kind=dela",
        "model.latent=4096",
        "train.kernels=composed",
        "data.generate.instances=128",
        "data.generate.labels=110",
        "data.test=0",
        "train.epochs=2",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|s| ["--set", *s]).collect();
    let ran = w.ok(&[&DATA[1..], &["--backend", "flex"], &sets, &["--out", "run"]].concat());
    let message = "all labels at once would take 1127 MiB of the 1024 MiB set aside; going over them 99 at a time";
    assert_eq!(ran.err.matches(message).count(), 1, "{}", ran.err);
}

#[test]
fn the_list_of_models_is_measured_here() {
    let w = Workspace::default();
    let ran = w.ok(&["models", "--json", "--features", "20", "--labels", "4", "--batch", "16", "--backend", "flex"]);
    let list: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    let kinds: Vec<&str> = list.iter().map(|m| m["about"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, [&["mlp"], KINDS].concat());
    for model in &list {
        assert!(model["step_seconds"].as_f64().unwrap() > 0.0 && model["weights"].as_u64().unwrap() > 0, "{model}");
    }
    // One hidden layer of 256 units.
    assert_eq!(list[0]["weights"], 20 * 256 + 256 + 256 * 4 + 4);
    assert_eq!(list[4]["settings"]["beta"], 1e-4);
    let ran = w.run(&["models", "delia", "--backend", "flex"]);
    let message = "error: no model `delia`; known: mlp, c2ae, mpvae, clif, dela, paca";
    assert_eq!((ran.code, ran.error().as_str()), (2, message));
    let text = w.ok(&["models", "--features", "20", "--labels", "4", "--batch", "16", "--backend", "flex"]).out;
    assert!(text.contains("relative to mlp") && text.contains("latent = \"auto\""), "{text}");
}
