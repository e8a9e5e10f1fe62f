//! Thresholds and calibration chosen on validation data: in a config and by `tune`, stored, applied everywhere.

use serde_json::Value;
use tests::{SMALL, Workspace};

const LONGER: &[&str] =
    &["--set", "train.epochs=12", "--set", "optimizer.learning_rate=0.01", "--set", "data.generate.instances=1500"];

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_method_is_stored_and_applied_by_evaluate_and_predict() {
    let w = Workspace::default();
    w.ok(&[SMALL, LONGER, &["--out", "run", "--set", "report.predictions=true"]].concat());
    let fixed = w.json("run/metrics.json");
    for (arguments, name) in [
        (&["--method", "per_label"][..], "per_label"),
        (&["--method", "global", "--objective", "f2_micro"], "global"),
        (&["--method", "cardinality"], "cardinality"),
        (&["--method", "top_k"], "top_k"),
        (&["--method", "fixed", "--value", "0.3"], "fixed"),
    ] {
        let ran = w.ok(&[&["tune", "run", "--backend", "flex"], arguments].concat());
        assert!(ran.out.contains(&format!("now ({name})")), "{}", ran.out);
        let tuned = w.json("run/metrics.json");
        assert_eq!(tuned["thresholds"], name);
        assert_eq!(w.json("run/model/model.json")["rules"]["method"], name);
        assert_eq!(tuned["split"]["test"]["map_macro"], fixed["split"]["test"]["map_macro"]);
        assert_ne!(tuned["split"]["test"]["f1_micro"], fixed["split"]["test"]["f1_micro"], "{name}");
        let evaluated = w.ok(&["evaluate", "run", "--json", "--backend", "flex", "--predictions", "p.jsonl"]).out;
        assert_eq!(serde_json::from_str::<Value>(&evaluated).unwrap(), tuned["split"]["test"], "{name}");
        let predictions = std::fs::read_to_string(w.path("p.jsonl")).unwrap();
        for line in predictions.lines().take(40).map(|l| serde_json::from_str::<Value>(l).unwrap()) {
            for label in line["labels"].as_array().unwrap() {
                let label = label.to_string();
                assert!(number(&line["scores"][&label]) >= number(&line["thresholds"][&label]), "{name}: {line}");
            }
        }
    }
}

#[test]
fn tuning_lifts_what_it_maximises_on_validation_data() {
    let w = Workspace::default();
    w.ok(&[SMALL, LONGER, &["--out", "run"]].concat());
    let before = w.json("run/metrics.json");
    for (objective, metric) in
        [("f1_macro", "f1_macro"), ("f2_macro", "f2_macro"), ("f1_micro", "f1_micro"), ("f2_micro", "f2_micro")]
    {
        for method in ["global", "per_label", "top_k"] {
            w.ok(&["tune", "run", "--method", method, "--objective", objective, "--backend", "flex"]);
            let after = w.json("run/metrics.json");
            let of = |m: &Value| number(&m["split"]["validation"][metric]);
            assert!(method == "top_k" || of(&after) >= of(&before), "{method} {objective}");
        }
    }
}

#[test]
fn thresholds_and_calibration_of_a_config_are_those_of_tune() {
    let w = Workspace::default();
    let settings: &[&str] = &["--set", "thresholds.method=per_label", "--set", "calibration.method=platt"];
    w.ok(&[SMALL, LONGER, settings, &["--out", "whole"]].concat());
    w.ok(&[SMALL, LONGER, &["--out", "later"]].concat());
    w.ok(&["tune", "later", "--method", "per_label", "--calibration", "platt", "--backend", "flex"]);
    assert_eq!(w.json("whole/model/model.json"), w.json("later/model/model.json"));
    for part in ["split", "baseline", "calibration", "thresholds"] {
        assert_eq!(w.json("whole/metrics.json")[part], w.json("later/metrics.json")[part]);
    }
    let html = std::fs::read_to_string(w.path("whole/report.html")).unwrap();
    assert!(html.contains("<h2>Calibration</h2><p>Scaling: platt.</p>") && html.contains("reliability, test"));
}

#[test]
fn scaling_mends_calibration_on_the_data_it_was_fitted_on() {
    let w = Workspace::default();
    // Positives weigh eight times as much: scores far above the share of positives.
    let eager: &[&str] = &[
        "--set",
        "data.generate.instances=3000",
        "--set",
        "data.generate.signal=0.2",
        "--set",
        "loss.pos_weight=8.0",
        "--set",
        "train.epochs=6",
    ];
    w.ok(&[SMALL, eager, &["--out", "run"]].concat());
    for method in ["temperature", "platt"] {
        w.ok(&["tune", "run", "--method", "global", "--calibration", method, "--backend", "flex"]);
        let calibration = &w.json("run/metrics.json")["calibration"];
        assert_eq!(calibration["method"], method);
        let of = |state: &str, figure: &str| number(&calibration["split"]["validation"][state][figure]);
        assert!(of("after", "brier") < of("before", "brier"), "{method}: {calibration}");
        assert!(of("after", "ece_equal_mass") < of("before", "ece_equal_mass"), "{method}: {calibration}");
        let bins = calibration["split"]["validation"]["after"]["reliability"].as_array().unwrap();
        assert_eq!(bins.iter().map(|b| number(&b["count"])).sum::<f64>(), 240.0 * 12.0);
    }
    // Temperature keeps the order of all scores.
    w.ok(&["tune", "run", "--method", "fixed", "--backend", "flex"]);
    let plain = w.json("run/metrics.json");
    w.ok(&["tune", "run", "--method", "fixed", "--calibration", "temperature", "--backend", "flex"]);
    for metric in ["f1_macro", "precision_at_3"] {
        assert_eq!(w.json("run/metrics.json")["split"]["test"][metric], plain["split"]["test"][metric]);
    }
}

#[test]
fn the_test_split_has_no_say_in_thresholds() {
    let w = Workspace::default();
    w.ok(&["data", "generate", "all.txt", "--instances", "400", "--features", "60", "--labels", "8"]);
    w.ok(&["data", "split", "all.txt", "parts", "--share", "0.3"]);
    let text = std::fs::read_to_string(w.path("parts/test.txt")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let half: Vec<&str> = rows.lines().take(rows.lines().count() / 2).collect();
    let size = header.split_once(' ').unwrap().1;
    w.file("half.txt", &format!("{} {size}\n{}\n", half.len(), half.join("\n")));
    for test in ["parts/test.txt", "half.txt"] {
        w.file(
            "c.toml",
            &format!(
                "[data]\ntrain = \"parts/train.txt\"\ntest = \"{test}\"\nvalidation = 0.25\n[train]\nepochs = 4\n\
                 [thresholds]\nmethod = \"per_label\"\n[calibration]\nmethod = \"platt\"\n"
            ),
        );
        w.ok(&["--config", "c.toml", "--out", test.trim_end_matches(".txt"), "--backend", "flex"]);
    }
    assert_eq!(w.json("parts/test/model/model.json"), w.json("half/model/model.json"));
}

#[test]
fn a_file_the_run_has_not_seen_can_choose_thresholds() {
    let w = Workspace::default();
    w.ok(&["data", "generate", "all.txt", "--instances", "400", "--features", "60", "--labels", "8"]);
    w.ok(&["data", "split", "all.txt", "parts", "--share", "0.4"]);
    w.file("c.toml", "[data]\ntrain = \"parts/train.txt\"\n[train]\nepochs = 4\n");
    w.ok(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
    let ran = w.run(&["tune", "run", "--method", "per_label", "--backend", "flex"]);
    let expected =
        "error: run: no validation data to choose on; train with data.validation, or give a file with --data";
    assert_eq!((ran.code, ran.error().as_str()), (2, expected));
    w.ok(&["tune", "run", "--method", "per_label", "--data", "parts/test.txt", "--backend", "flex"]);
    assert_eq!(w.json("run/model/model.json")["rules"]["method"], "per_label");
}

#[test]
fn requests_that_cannot_be_met_say_why() {
    let data = "[data]\n[data.generate]\ninstances = 200\nfeatures = 30\nlabels = 5\n";
    for (text, expected) in [
        (
            "[thresholds]\nmethod = \"per_label\"\n",
            "error: thresholds.method = per_label needs validation data; set data.validation",
        ),
        (
            "[calibration]\nmethod = \"platt\"\n",
            "error: calibration.method = platt needs validation data; set data.validation",
        ),
        ("[thresholds]\nmethod = \"top_k\"\nk = 0\n", "error: thresholds.k = 0 is out of range: at least 1"),
        (
            "[thresholds]\nmethod = \"global\"\nobjective = \"accuracy\"\n",
            "error: c.toml:6: [thresholds] thresholds.objective = `accuracy` is no F measure; expected f<β>_macro or \
             f<β>_micro, as f1_macro",
        ),
        (
            "[thresholds]\nmethod = \"per_lable\"\n",
            "error: c.toml:7: `per_lable` is no choice in [thresholds]\n  known: fixed, global, per_label, cardinality, \
             top_k      did you mean `per_label`?",
        ),
    ] {
        let w = Workspace::default();
        w.file("c.toml", &format!("{data}{text}"));
        let ran = w.run(&["--config", "c.toml", "--out", "run", "--backend", "flex"]);
        assert_eq!((ran.code, ran.error().as_str()), (2, expected));
        assert!(!w.path("run").exists());
    }
    let w = Workspace::default();
    assert_eq!(w.run(&["tune", "nowhere"]).error(), "error: nowhere: no run here (no config.toml)");
    let ran = w.run(&["tune", "nowhere", "--objective", "f1"]);
    assert!(ran.code == 2 && ran.err.contains("is no F measure"), "{}", ran.err);
}
