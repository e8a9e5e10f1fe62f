//! The main job and the commands around it, as a user runs them.

use tests::{SMALL, Workspace};

#[test]
fn a_run_leaves_all_that_the_contract_names_and_beats_the_baseline() {
    let w = Workspace::default();
    let ran = w.ok(&[
        SMALL,
        &[
            "--out",
            "run",
            "--set",
            "train.epochs=20",
            "--set",
            "optimizer.learning_rate=0.01",
            "--set",
            "report.predictions=true",
        ],
    ]
    .concat());
    assert!(ran.out.contains("by frequency") && ran.out.contains("run/report.html"), "{}", ran.out);
    for name in [
        "config.toml",
        "environment.json",
        "events.jsonl",
        "metrics.json",
        "predictions.jsonl",
        "report.html",
        "model/model.safetensors",
        "model/model.json",
        "checkpoint/last.ckpt",
        "checkpoint/best.ckpt",
    ] {
        assert!(w.path("run").join(name).is_file(), "{name}");
    }
    let metrics = w.json("run/metrics.json");
    assert_eq!((&metrics["protocol"], &metrics["thresholds"]), (&"standard".into(), &"fixed".into()));
    for name in ["f1_macro", "map_macro", "precision_at_1"] {
        let model = metrics["split"]["test"][name].as_f64().unwrap();
        let baseline = metrics["baseline"]["test"][name].as_f64().unwrap();
        assert!(model > baseline + 0.1, "{name}: {model} against {baseline}");
    }
    assert_eq!(w.timeless_events("run").len(), 20);
    let html = std::fs::read_to_string(w.path("run/report.html")).unwrap();
    assert!(html.contains("<svg") && !html.contains("src=") && !html.contains("<link"), "something is not in the file");
    // The stored config alone gives the same run again, bit for bit.
    w.ok(&["--backend", "flex", "--config", "run/config.toml", "--out", "again"]);
    assert_eq!(w.timeless_events("run"), w.timeless_events("again"));
    let weights = |run: &str| std::fs::read(w.path(run).join("model/model.safetensors")).unwrap();
    assert!(weights("run") == weights("again"));
}

#[test]
fn running_statistics_travel_with_the_model_and_the_checkpoint() {
    let w = Workspace::default();
    let norm: &[&str] = &["--set", "model.norm=batch", "--set", "model.activation=gelu", "--set", "train.epochs=4"];
    w.ok(&[SMALL, norm, &["--out", "whole"]].concat());
    let found: serde_json::Value =
        serde_json::from_str(&w.ok(&["evaluate", "whole", "--json", "--backend", "flex"]).out).unwrap();
    assert_eq!(found, w.json("whole/metrics.json")["split"]["test"]);
    w.ok(&[SMALL, norm, &["--set", "train.epochs=2", "--out", "parts"]].concat());
    w.ok(&["--backend", "flex", "--out", "parts", "--resume", "--set", "train.epochs=4"]);
    assert_eq!(w.timeless_events("whole"), w.timeless_events("parts"));
}

#[test]
fn evaluate_finds_what_training_reported() {
    let w = Workspace::default();
    w.ok(&[SMALL, &["--out", "run", "--set", "train.epochs=5"]].concat());
    for split in ["test", "validation"] {
        let ran = w.ok(&["evaluate", "run", "--split", split, "--json", "--backend", "flex"]);
        let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(found, w.json("run/metrics.json")["split"][split]);
    }
    let other = w.ok(&["evaluate", "run", "--json", "--backend", "ndarray"]);
    let other: serde_json::Value = serde_json::from_str(&other.out).unwrap();
    let flex = &w.json("run/metrics.json")["split"]["test"]["map_macro"];
    assert!((other["map_macro"].as_f64().unwrap() - flex.as_f64().unwrap()).abs() < 1e-4);
}

#[test]
fn predictions_agree_in_every_format_and_from_every_input() {
    let w = Workspace::default();
    w.ok(&["data", "generate", "all.txt", "--instances", "300", "--features", "60", "--labels", "6"]);
    w.ok(&["data", "split", "all.txt", "parts", "--share", "0.25"]);
    let config = "[data]\ntrain = \"parts/train.txt\"\ntest = \"parts/test.txt\"\n[model]\nkind = \"mlp\"\nhidden = [16]\n\
                  [train]\nepochs = 15\n[report]\npredictions = true\n";
    w.file("c.toml", config);
    w.ok(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
    let json = w.ok(&["predict", "run", "parts/test.txt", "--backend", "flex"]).out;
    assert_eq!(json, std::fs::read_to_string(w.path("run/predictions.jsonl")).unwrap());
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["instance"], 0);

    let top =
        w.ok(&["predict", "run", "parts/test.txt", "--backend", "flex", "--top-k", "2", "--format", "svmlight"]).out;
    assert!(top.lines().all(|l| l.split(' ').count() >= 2), "{top}");
    assert_eq!(top.lines().count(), json.lines().count());
    w.ok(&["predict", "run", "parts/test.txt", "--backend", "flex", "--format", "csv", "--output", "p.csv"]);
    let csv = std::fs::read_to_string(w.path("p.csv")).unwrap();
    let decided = csv.lines().skip(1).count();
    let labels: usize = json
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["labels"].as_array().unwrap().len())
        .sum();
    assert_eq!(decided, labels);

    // Standard input, and a file whose label column is known by name.
    let mut command = w.command(&["predict", "run", "-", "--backend", "flex"]);
    command.stdin(std::fs::File::open(w.path("parts/test.txt")).unwrap());
    assert_eq!(tests::Ran::of(&mut command).out, json);
}

#[test]
fn a_labelled_csv_is_predicted_as_it_is() {
    let w = Workspace::default();
    let mut text = String::from("x,y,tags\n");
    for i in 0..60 {
        text += &format!("{},{},{}\n", i % 2, (i / 2) % 2, ["", "a", "b", "a;b"][i % 2 + 2 * ((i / 2) % 2)]);
    }
    w.file("d.csv", &text);
    w.file(
        "c.toml",
        "[data]\ntrain = \"d.csv\"\nlabel_column = \"tags\"\n[model]\nkind = \"mlp\"\nhidden = [8]\n\
                      [optimizer]\nkind = \"adam\"\nlearning_rate = 0.05\n[train]\nepochs = 60\n",
    );
    w.ok(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
    let ran = w.ok(&["predict", "run", "d.csv", "--backend", "flex"]);
    let labels: Vec<String> = ran
        .out
        .lines()
        .take(4)
        .map(|l| {
            let v: serde_json::Value = serde_json::from_str(l).unwrap();
            let mut names: Vec<&str> = v["labels"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
            names.sort_unstable();
            names.join(";")
        })
        .collect();
    assert_eq!(labels, ["", "a", "b", "a;b"]);
    w.file("new.csv", "x,y,tags\n0,1,c\n");
    let ran = w.run(&["evaluate", "run", "--data", "new.csv", "--backend", "flex"]);
    let expected = "error: new.csv: 1 labels are unknown to the model, the first is `c`";
    assert_eq!((ran.code, ran.error().as_str()), (2, expected));
}

#[test]
fn data_commands_describe_convert_and_split() {
    let w = Workspace::default();
    w.ok(&[
        "data",
        "generate",
        "a.txt",
        "--instances",
        "200",
        "--features",
        "50",
        "--labels",
        "7",
        "--negatives",
        "0.5",
    ]);
    let stats = w.ok(&["data", "stats", "a.txt", "--json"]).out;
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!((&stats["instances"], &stats["labels"]), (&200.into(), &7.into()));
    assert!((stats["negatives"].as_f64().unwrap() - 0.5).abs() < 0.12);
    w.ok(&["data", "convert", "a.txt", "a.jsonl"]);
    let again = w.ok(&["data", "stats", "a.jsonl", "--json"]).out;
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["cardinality"], &again["negatives"]), (&stats["cardinality"], &stats["negatives"]));
    let folds = w.ok(&["data", "split", "a.txt", "folds", "--folds", "5"]).out;
    assert_eq!(folds.lines().filter(|l| l.ends_with(": 40 instances")).count(), 5, "{folds}");
}

#[test]
fn completions_and_devices_answer() {
    let w = Workspace::default();
    assert!(w.ok(&["completions", "bash"]).out.contains("complete -F"));
    let devices: serde_json::Value = serde_json::from_str(&w.ok(&["devices", "--json"]).out).unwrap();
    assert!(devices["backends"].as_array().unwrap().contains(&"flex".into()));
}

#[test]
fn logs_are_json_where_asked_for_and_nothing_when_quiet() {
    let w = Workspace::default();
    let short: &[&str] = &["--set", "train.epochs=1"];
    let ran = w.ok(&[SMALL, short, &["--log-format", "json", "--out", "a"]].concat());
    let lines: Vec<serde_json::Value> = ran.err.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(lines.iter().any(|l| l["fields"]["epoch"] == 1));
    assert_eq!(w.ok(&[SMALL, short, &["--quiet", "--out", "b"]].concat()).err, "");
}

#[test]
fn losses_compose_in_a_config_and_report_their_parts() {
    let w = Workspace::default();
    let data = "[data]\ntest = 0.2\n[data.generate]\ninstances = 400\nfeatures = 60\nlabels = 8\nactive = 10.0\n";
    let loss = "[loss]\nkind = \"class_balanced\"\nreduction = \"sum\"\n\
                base = { kind = \"any_class\", lambda = 0.1, base = { kind = \"focal\", gamma = 1.0 } }\n";
    w.file("c.toml", &format!("{data}{loss}[train]\nepochs = 3\n"));
    w.ok(&["--config", "c.toml", "--backend", "flex", "--out", "run"]);
    let events = w.timeless_events("run");
    let last = events.last().unwrap();
    let part = |name: &str| last["loss_parts"][name].as_f64().unwrap();
    let whole = last["loss"].as_f64().unwrap();
    assert!((part("labels") + part("presence") - whole).abs() < 1e-5 * whole, "{last}");
    assert!(std::fs::read_to_string(w.path("run/report.html")).unwrap().contains("part: presence"));
    assert!(w.json("run/environment.json")["training_counts"]["labels"].as_array().unwrap().len() == 8);

    w.file(
        "bad.toml",
        &format!("{data}[loss]\nkind = \"class_balanced\"\nbase = {{ kind = \"focal\", gama = 1.0 }}\n"),
    );
    let ran = w.run(&["--config", "bad.toml", "--backend", "flex", "--out", "bad"]);
    let expected = "error: bad.toml:10: loss.gama is no setting of class_balanced\n  known: gamma, alpha      did you mean `gamma`?";
    assert_eq!((ran.code, ran.error().as_str()), (2, expected));
}

#[test]
fn every_loss_of_the_library_trains() {
    let w = Workspace::default();
    for kind in ["focal", "asymmetric", "class_balanced", "any_class", "zlpr", "two_way", "distribution_balanced"] {
        let set = format!("loss.kind={kind}");
        w.ok(&[SMALL, &["--set", &set, "--set", "train.epochs=4", "--out", kind]].concat());
        let losses: Vec<f64> = w.timeless_events(kind).iter().map(|e| e["loss"].as_f64().unwrap()).collect();
        assert!(losses[3] < losses[0], "{kind}: {losses:?}");
    }
}
