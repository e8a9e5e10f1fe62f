//! Thresholds that adapt to rarity and neighbours, as a user trains, evaluates and predicts with them: true labels never
//! help, unless an oracle is asked for by name.

use serde_json::Value;
use tests::{SMALL, Workspace, real_data};

/// The sources that may predict.
const HONEST: [&str; 3] = ["features", "embedding", "predicted"];

/// Training and test files, and the test file with its labels moved on by one instance.
fn data(w: &Workspace) {
    w.ok(&[
        "data",
        "generate",
        "all.txt",
        "--instances",
        "500",
        "--features",
        "80",
        "--labels",
        "10",
        "--active",
        "12",
    ]);
    w.ok(&["data", "split", "all.txt", "parts", "--share", "0.3"]);
    let text = std::fs::read_to_string(w.path("parts/test.txt")).unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    let rows: Vec<(&str, &str)> = lines.map(|l| l.split_once(' ').unwrap_or((l, ""))).collect();
    let labels = rows.iter().map(|r| r.0).cycle().skip(1);
    let moved: Vec<String> = rows.iter().zip(labels).map(|(r, l)| format!("{l} {}", r.1)).collect();
    w.file("permuted.txt", &format!("{header}\n{}\n", moved.join("\n")));
}

/// The config for one source; `more` goes into its loss.
fn config(w: &Workspace, source: &str, more: &str) {
    let text = format!(
        "[data]\ntrain = \"parts/train.txt\"\ntest = \"parts/test.txt\"\nvalidation = 0.2\n\
         [model]\nkind = \"mlp\"\nhidden = [24]\n\
         [loss]\nkind = \"adaptive_threshold\"\nneighbours = \"{source}\"\nk = 8\nlearning_rate = 0.05\n{more}\n\
         [optimizer]\nkind = \"adam\"\nlearning_rate = 0.01\n[train]\nepochs = 8\n[report]\npredictions = true\n"
    );
    w.file(&format!("{source}.toml"), &text);
}

fn train(w: &Workspace, source: &str, more: &str, run: &str) {
    config(w, source, more);
    w.ok(&["--config", &format!("{source}.toml"), "--backend", "flex", "--out", run]);
}

fn evaluated(w: &Workspace, run: &str, file: &str, more: &[&str]) -> String {
    w.ok(&[&["evaluate", run, "--data", file, "--backend", "flex", "--predictions", "p.jsonl"], more].concat());
    std::fs::read_to_string(w.path("p.jsonl")).unwrap()
}

#[test]
fn permuted_test_labels_change_no_prediction_of_a_source_that_may_predict() {
    let w = Workspace::default();
    data(&w);
    for (source, more) in HONEST.into_iter().map(|s| (s, "")).chain([("features", "idf = \"tfidf\"")]) {
        train(&w, source, more, "run");
        let found = evaluated(&w, "run", "parts/test.txt", &[]);
        assert_eq!(found, evaluated(&w, "run", "permuted.txt", &[]), "{source}");
        assert_eq!(found, std::fs::read_to_string(w.path("run/predictions.jsonl")).unwrap(), "{source}");
        let predicted = w.ok(&["predict", "run", "permuted.txt", "--backend", "flex"]).out;
        assert_eq!(found, predicted, "{source}");
        // Nor does the training of the model see them.
        let permuted = ["--config", &format!("{source}.toml"), "--set", "data.test=permuted.txt", "--backend", "flex"];
        w.ok(&[&permuted[..], &["--out", "permuted"]].concat());
        assert_eq!(found, std::fs::read_to_string(w.path("permuted/predictions.jsonl")).unwrap(), "{source}");
        std::fs::remove_dir_all(w.path("run")).unwrap();
        std::fs::remove_dir_all(w.path("permuted")).unwrap();
    }
}

#[test]
fn permuted_test_labels_change_an_oracles_predictions() {
    let w = Workspace::default();
    data(&w);
    for source in ["batch_labels", "authors"] {
        train(&w, source, "predict_neighbours = \"features\"", source);
        let honest = evaluated(&w, source, "parts/test.txt", &[]);
        assert_eq!(honest, evaluated(&w, source, "permuted.txt", &[]), "{source}");
        let oracle = evaluated(&w, source, "parts/test.txt", &["--oracle"]);
        assert_ne!(oracle, evaluated(&w, source, "permuted.txt", &["--oracle"]), "{source}");
        assert!(oracle.lines().all(|l| l.contains("\"protocol\":\"oracle\"")) && !honest.contains("oracle"));
    }
}

#[test]
fn an_oracle_is_named_in_every_file_table_and_plot_and_goes_again() {
    let w = Workspace::default();
    data(&w);
    train(&w, "batch_labels", "predict_neighbours = \"predicted\"", "run");
    let standard = w.json("run/metrics.json");
    assert_eq!((&standard["protocol"], &standard["neighbours"]), (&"standard".into(), &"predicted".into()));
    let html = || std::fs::read_to_string(w.path("run/report.html")).unwrap();
    let unmarked = || html().contains("Protocol: standard") && !html().contains(", oracle");
    assert!(unmarked());

    let ran = w.ok(&["evaluate", "run", "--oracle", "--backend", "flex"]);
    let head = ran.out.lines().next().unwrap();
    assert!(head.contains("test (oracle)") && head.contains("model (oracle)"), "{head}");
    let oracle = w.json("run/metrics.json");
    assert_eq!((&oracle["protocol"], &oracle["neighbours"]), (&"oracle".into(), &"batch_labels".into()));
    assert_eq!(oracle["split"].as_object().unwrap().keys().collect::<Vec<_>>(), ["test"]);
    assert_eq!(oracle["standard"], standard["split"]);
    assert_ne!(oracle["split"]["test"]["f1_macro"], standard["split"]["test"]["f1_macro"]);
    assert_eq!(w.json("run/labels.json")["protocol"], "oracle");
    for text in [
        "Protocol: oracle",
        "<th>test, oracle</th><th>model, oracle</th>",
        "(test split, oracle)",
        "F1 by training positives, oracle",
        "reliability, test, oracle",
        "<th>label, oracle</th>",
        "<th>split, oracle</th>",
    ] {
        assert!(html().contains(text), "{text}");
    }
    let json = w.ok(&["evaluate", "run", "--oracle", "--json", "--backend", "flex"]).out;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["protocol"], "oracle");

    w.ok(&["evaluate", "run", "--backend", "flex"]);
    let back = w.json("run/metrics.json");
    assert_eq!((&back["protocol"], &back["split"]), (&standard["protocol"], &standard["split"]));
    assert!(back["standard"].is_null() && unmarked());
}

#[test]
fn one_instance_alone_gets_the_scores_it_gets_among_others() {
    let w = Workspace::default();
    data(&w);
    let text = std::fs::read_to_string(w.path("parts/test.txt")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let size = header.split_once(' ').unwrap().1;
    for source in HONEST {
        train(&w, source, "", source);
        let all = |file: &str| -> Vec<Value> {
            let out = w.ok(&["predict", source, file, "--top-k", "10", "--backend", "flex"]).out;
            out.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
        };
        let together = all("parts/test.txt");
        for i in [0, 17, 101] {
            w.file("one.txt", &format!("1 {size}\n{}\n", rows.lines().nth(i).unwrap()));
            let alone = &all("one.txt")[0];
            for (label, score) in together[i]["scores"].as_object().unwrap() {
                let difference = score.as_f64().unwrap() - alone["scores"][label].as_f64().unwrap();
                assert!(difference.abs() < 1e-6, "{source}, instance {i}, label {label}: {difference}");
            }
        }
    }
}

#[test]
fn an_explanation_adds_up_and_names_training_instances_that_carry_the_label() {
    let w = Workspace::default();
    data(&w);
    train(&w, "features", "", "run");
    w.ok(&["tune", "run", "--method", "per_label", "--calibration", "platt", "--backend", "flex"]);
    let training = std::fs::read_to_string(w.path("parts/train.txt")).unwrap();
    let labels: Vec<&str> = training.lines().skip(1).map(|l| l.split(' ').next().unwrap()).collect();
    let out = w.ok(&["predict", "run", "parts/test.txt", "--explain", "--backend", "flex"]).out;
    let (mut explained, mut voted) = (0, 0);
    for line in out.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let explain = line["explain"].as_object().unwrap();
        assert_eq!(explain.len(), line["labels"].as_array().unwrap().len());
        for (label, e) in explain {
            let number = |v: &Value| v.as_f64().unwrap();
            let parts: f64 = ["rarity", "neighbours", "bias"].iter().map(|p| number(&e["parts"][p])).sum();
            assert!((parts - number(&e["theta"])).abs() < 1e-9, "{e}");
            assert!((number(&e["theta"]) + number(&e["rule"]) - number(&e["threshold"])).abs() < 1e-9, "{e}");
            assert!(number(&e["logit"]) >= number(&e["threshold"]) - 1e-5, "predicted below its threshold: {e}");
            for voter in e["neighbours"].as_array().unwrap() {
                let row = voter["instance"].as_u64().unwrap() as usize;
                assert!(labels[row].split(',').any(|l| l == label), "training instance {row} has no label {label}");
                voted += 1;
            }
            explained += 1;
        }
    }
    assert!(explained > 20 && voted > 50, "{explained} labels, {voted} votes");
}

#[test]
fn every_source_and_signal_trains_and_its_thresholds_learn() {
    let w = Workspace::default();
    let adaptive: &[&str] = &["--set", "loss.kind=adaptive_threshold", "--set", "train.epochs=3", "--set", "loss.k=5"];
    for (name, settings) in [
        ("static", vec!["loss.signals=static"]),
        ("idf", vec!["loss.signals=idf", "loss.margin=band"]),
        ("tfidf", vec!["loss.idf=tfidf", "loss.neighbours=embedding"]),
        ("knn", vec!["loss.signals=knn", "loss.neighbours=predicted", "loss.base=focal"]),
        ("batch", vec!["loss.neighbours=batch_labels", "loss.predict_neighbours=embedding"]),
        (
            "paper",
            vec![
                "loss.neighbours=authors",
                "loss.idf=authors",
                "loss.predict_neighbours=none",
                "loss.standardise=true",
                "loss.link=logistic",
            ],
        ),
    ] {
        let settings: Vec<&str> = settings.iter().flat_map(|s| ["--set", *s]).collect();
        w.ok(&[SMALL, adaptive, &settings, &["--out", name]].concat());
        let losses: Vec<f64> = w.timeless_events(name).iter().map(|e| e["loss"].as_f64().unwrap()).collect();
        assert!(losses[2] < losses[0], "{name}: {losses:?}");
        assert!(w.timeless_events(name)[0]["loss_parts"]["margin"].is_number(), "{name}");
        let metrics = w.json(&format!("{name}/metrics.json"));
        assert_eq!(metrics["split"].as_object().unwrap().is_empty(), name == "paper", "{name}");
    }
    // What may not predict is not evaluated, refuses to predict, and is measured as an oracle only.
    w.file("x.txt", " 0:1\n");
    let ran = w.run(&["predict", "paper", "x.txt", "--backend", "flex"]);
    assert_eq!(
        (ran.code, ran.error().as_str()),
        (
            2,
            "error: paper: loss.predict_neighbours = none: the model does not predict; here: give a source that may \
             predict: --neighbours features, embedding or predicted"
        )
    );
    assert_eq!(w.run(&["evaluate", "paper", "--backend", "flex"]).code, 2);
    w.ok(&["evaluate", "paper", "--oracle", "--backend", "flex"]);
    assert_eq!(w.json("paper/metrics.json")["protocol"], "oracle");
}

#[test]
fn a_source_may_be_named_at_prediction() {
    let w = Workspace::default();
    data(&w);
    config(&w, "batch_labels", "");
    let none = ["--set", "data.test=0", "--set", "data.validation=0"];
    w.ok(&[&["--config", "batch_labels.toml", "--backend", "flex", "--out", "run"], &none[..]].concat());
    let ran = w.run(&["predict", "run", "parts/test.txt", "--backend", "flex"]);
    let start = "error: run: loss.neighbours = batch_labels needs the true labels and may not predict; ";
    assert!(ran.code == 2 && ran.error().starts_with(start), "{}", ran.error());
    let mut found = Vec::new();
    for source in HONEST {
        found.push(w.ok(&["predict", "run", "parts/test.txt", "--neighbours", source, "--backend", "flex"]).out);
    }
    assert!(found[0] != found[1] && found[1] != found[2]);
    let ran = w.run(&["predict", "run", "parts/test.txt", "--neighbours", "batch_labels", "--backend", "flex"]);
    let expected = "error: --neighbours batch_labels needs the true labels and may not predict; features, embedding and predicted may";
    assert_eq!((ran.code, ran.error().as_str()), (2, expected));
    let ran = w.run(&["predict", "run", "parts/test.txt", "--oracle", "--backend", "flex"]);
    let expected = "error: --oracle: predict never sees true labels; an oracle is an option of evaluate alone";
    assert_eq!((ran.code, ran.error().as_str()), (2, expected));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let adaptive = "[data]\n[data.generate]\ninstances = 300\nfeatures = 40\nlabels = 6\n[model]\nkind = \"mlp\"\nhidden = [8]\n\
                    [train]\nepochs = 1\n[loss]\nkind = \"adaptive_threshold\"\n";
    for (text, expected) in [
        (
            "k = 300\n",
            "error: loss.k = 300 is larger than the bank: 300 training rows, of which an instance is no neighbour of its own",
        ),
        ("k = 0\n", "error: loss.k = 0 is out of range: at least 1"),
        (
            "neighbours = \"embedding\"\n[sampler]\nkind = \"random\"\n",
            "error: loss.neighbours = embedding needs a hidden layer; model.hidden is empty",
        ),
        ("margin_weight = -1.0\n", "error: loss.margin_weight = -1 is out of range: at least 0"),
        (
            "base = \"adaptive_threshold\"\n",
            "error: loss: adaptive_threshold over adaptive_threshold: a label has one threshold",
        ),
        (
            "neighbors = \"features\"\n",
            "error: c.toml:13: loss.neighbors is no setting of adaptive_threshold\n  known: base, signals, idf, neighbours, \
             predict_neighbours, k, margin, margin_weight, margin_delta, static_threshold, standardise, link, \
             learning_rate, memory_limit      did you mean `neighbours`?",
        ),
    ] {
        let w = Workspace::default();
        let text =
            if text.contains("embedding") { adaptive.replace("[8]", "[]") + text } else { adaptive.to_owned() + text };
        w.file("c.toml", &text);
        let ran = w.run(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
        assert_eq!((ran.code, ran.error().as_str()), (2, expected));
        assert!(!w.path("run").exists(), "{text}: a run folder is left");
    }
    let w = Workspace::default();
    w.file("c.toml", &format!("{adaptive}neighbours = \"batch_labels\"\n").replace("[data]\n", "[data]\ntest = 0.2\n"));
    let ran = w.run(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
    let expected = "error: loss.neighbours = batch_labels needs the true labels and may not predict; set \
                    loss.predict_neighbours to features, embedding or predicted, or to none to train without evaluating";
    assert_eq!((ran.code, ran.error().as_str()), (2, expected));

    let large = adaptive.replace("instances = 300", "instances = 40000\nactive = 30.0") + "memory_limit = 1\n";
    w.file("c.toml", &large);
    let ran = w.run(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
    assert_eq!(ran.code, 2);
    let start = "error: loss.memory_limit = 1 MiB is too little for the bank of 40000 training rows: at least ";
    assert!(ran.error().starts_with(start) && ran.error().ends_with(" MiB are needed, in chunks"), "{}", ran.error());
    assert!(!w.path("run").exists());
}

#[test]
fn labels_without_a_positive_keep_the_static_threshold_and_are_counted() {
    let w = Workspace::default();
    let rows: String = (0..40).map(|i| format!("{} {}:1 {}:1\n", i % 2, i % 2, 2 + i % 3)).collect();
    w.file("t.txt", &format!("40 5 4\n{rows}"));
    w.file(
        "c.toml",
        "[data]\ntrain = \"t.txt\"\ntest = 0.25\n[loss]\nkind = \"adaptive_threshold\"\nk = 3\nstatic_threshold = -20.0\n\
         [train]\nepochs = 3\n",
    );
    let ran = w.ok(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
    assert!(ran.err.contains("2 labels without a positive in training keep the static threshold, -20"), "{}", ran.err);
    let out = w.ok(&["predict", "run", "t.txt", "--explain", "--backend", "flex"]).out;
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    for label in ["2", "3"] {
        assert_eq!(first["explain"][label]["theta"], -20.0, "{first}");
    }
}

#[test]
fn amazoncat_configs_train_on_data_of_that_shape() {
    let w = Workspace::default();
    let shape =
        ["--features", "203882", "--labels", "13330", "--active", "71", "--cardinality", "5", "--negatives", "0"];
    std::fs::create_dir(w.path("amazoncat13k")).unwrap();
    w.ok(&[&["data", "generate", "amazoncat13k/train.txt", "--instances", "700"], &shape[..]].concat());
    let text = std::fs::read_to_string(w.path("amazoncat13k/train.txt")).unwrap();
    assert!(text.starts_with("700 203882 13330\n"));
    let configs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/papers/adaptive_threshold");
    let small: &[&str] = &["--set", "model.hidden=[8, 8, 8]", "--set", "train.epochs=2", "--backend", "flex"];
    for name in ["amazoncat13k", "amazoncat13k_honest"] {
        let config = configs.join(format!("{name}.toml")).display().to_string();
        let run = format!("{name}-run");
        let args = [&["--config", &config, "--out", &run], small].concat();
        let ran = tests::Ran::of(w.command(&args).env("LONGTAIL_DATA", w.path("")));
        assert_eq!(ran.code, 0, "{name}: {}", ran.err);
    }
    w.ok(&["evaluate", "amazoncat13k-run", "--split", "validation", "--oracle", "--backend", "flex"]);
    assert_eq!(w.json("amazoncat13k-run/metrics.json")["protocol"], "oracle");
    let honest = w.json("amazoncat13k_honest-run/metrics.json");
    assert_eq!((&honest["protocol"], &honest["thresholds"]), (&"standard".into(), &"per_label".into()));
}

#[test]
fn tuned_thresholds_lift_macro_f1_on_bibtex() {
    if real_data().is_none() {
        return;
    }
    let w = Workspace::default();
    let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/reference/bibtex.toml");
    let config = config.display().to_string();
    w.ok(&["--config", &config, "--set", "data.validation=0.15", "--backend", "flex", "--out", "run"]);
    let f1 = || w.json("run/metrics.json")["split"]["test"]["f1_macro"].as_f64().unwrap();
    let fixed = f1();
    assert!((fixed - 0.24).abs() < 0.02, "{fixed}");
    w.ok(&["tune", "run", "--method", "per_label", "--backend", "flex"]);
    let tuned = f1();
    assert!(tuned >= 0.33, "{tuned}");
}
