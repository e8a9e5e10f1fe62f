//! Every metric against numbers computed with scikit-learn and NumPy in float64.

use data::LabelRows;
use metrics::{Propensity, Scores, Settings, evaluate};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/metrics.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn targets(golden: &Value) -> LabelRows {
    let rows = golden["targets"].as_array().unwrap();
    let mut out = LabelRows::new(rows[0].as_array().unwrap().len());
    for row in rows {
        let labels: Vec<u32> = (0..).zip(numbers(row)).filter(|e| e.1 == 1.0).map(|e| e.0).collect();
        out.push(&labels);
    }
    out
}

fn settings(golden: &Value) -> Settings {
    let counts: Vec<usize> = numbers(&golden["train_label_counts"]).iter().map(|&n| n as usize).collect();
    let propensity = Propensity::from_counts(&counts, golden["n_train"].as_u64().unwrap() as usize);
    Settings { at_k: vec![1, 3, 5], propensity: Some(propensity) }
}

#[test]
fn every_golden_metric_to_1e_9() {
    let golden = golden();
    let targets = targets(&golden);
    let values = golden["scores"].as_array().unwrap().iter().flat_map(numbers).collect();
    let scores = Scores::Dense { columns: targets.columns(), values };
    let predicted = scores.decide(&[golden["threshold"].as_f64().unwrap()]);
    let table = evaluate(&scores, &predicted, &targets, &settings(&golden)).unwrap();
    let expected = golden["values"].as_object().unwrap();
    for (name, value) in expected {
        let found = table.get(name).unwrap_or_else(|| panic!("{name} is not computed"));
        assert!((found - value.as_f64().unwrap()).abs() < 1e-9, "{name}: {found}, expected {value}");
    }
    assert_eq!(table.iter().count(), expected.len(), "computed metrics without a golden value");
    for (name, _) in table.iter() {
        assert!(metrics::direction(name).is_ok(), "{name} has no direction");
    }
}

#[test]
fn propensities_to_1e_9() {
    let golden = golden();
    let found = settings(&golden).propensity.unwrap().0;
    for (a, b) in found.iter().zip(numbers(&golden["propensity"]["values"])) {
        assert!((a - b).abs() < 1e-9);
    }
}

#[test]
fn top_scores_alone_give_the_same_at_k_metrics() {
    let golden = golden();
    let targets = targets(&golden);
    let values: Vec<f64> = golden["scores"].as_array().unwrap().iter().flat_map(numbers).collect();
    let dense = Scores::Dense { columns: targets.columns(), values };
    let rows = (0..dense.len()).map(|i| dense.top(i, 5)).collect();
    let top = Scores::Top { columns: targets.columns(), rows };
    let settings = settings(&golden);
    let table = evaluate(&top, &top.decide(&[0.5]), &targets, &settings).unwrap();
    for name in ["precision_at_5", "recall_at_3", "ndcg_at_5", "psp_at_3", "one_error"] {
        assert!((table.get(name).unwrap() - golden["values"][name].as_f64().unwrap()).abs() < 1e-9, "{name}");
    }
    assert_eq!(table.get("map_macro"), None);
}

#[test]
fn shapes_that_differ_are_refused() {
    let scores = Scores::Dense { columns: 2, values: vec![0.1, 0.2] };
    let mut one = LabelRows::new(2);
    one.push(&[]);
    let two = LabelRows::new(3);
    let settings = Settings { at_k: vec![1], propensity: None };
    let error = evaluate(&scores, &one, &two, &settings).unwrap_err();
    assert_eq!(error.to_string(), "predictions and targets: (1, 2) against (0, 3) (instances, labels)");
}
