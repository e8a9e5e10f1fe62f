//! Thresholds against golden values, and every method against a search through all candidates.

use data::LabelRows;
use metrics::thresholds::{Average, Method, Objective};
use metrics::{Decision, Scores, ThresholdError, ThresholdsConfig, per_label};
use proptest::prelude::*;
use serde_json::Value;

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn labels(rows: &[Vec<bool>]) -> LabelRows {
    let mut out = LabelRows::new(rows[0].len());
    for row in rows {
        out.push(&(0..).zip(row).filter(|e| *e.1).map(|e| e.0).collect::<Vec<u32>>());
    }
    out
}

fn method(text: &str) -> ThresholdsConfig {
    serde_json::from_value(read(text)).unwrap()
}

fn of(method: Method, objective: Objective) -> ThresholdsConfig {
    ThresholdsConfig { method, objective, ..ThresholdsConfig::default() }
}

fn choose(config: &ThresholdsConfig, columns: usize, values: &[f64], targets: &LabelRows) -> Decision {
    let scores = Scores::Dense { columns, values: values.to_vec() };
    config.choose(&scores, targets, &vec![0.3; columns]).unwrap().decision
}

fn thresholds(decision: Decision) -> Vec<f64> {
    match decision {
        Decision::Thresholds(values) => values,
        Decision::TopK(k) => panic!("top {k}"),
    }
}

#[test]
fn golden_thresholds_exactly() {
    let scores = read(include_str!("golden/metrics.json"));
    let golden = read(include_str!("golden/threshold_tuning.json"));
    let values: Vec<f64> = scores["scores"].as_array().unwrap().iter().flat_map(numbers).collect();
    let truth: Vec<Vec<bool>> =
        scores["targets"].as_array().unwrap().iter().map(|r| numbers(r).iter().map(|v| *v == 1.0).collect()).collect();
    let targets = labels(&truth);
    let columns = targets.columns();
    let config = method(r#"{"method": "per_label", "min_positives": 1}"#);
    let found = thresholds(choose(&config, columns, &values, &targets));
    let decided = Scores::Dense { columns, values }.decide(&found);
    let confusion = per_label(&decided, &targets);
    for case in golden["labels"].as_array().unwrap() {
        let l = case["label"].as_u64().unwrap() as usize;
        assert!((confusion[l].f_beta(1.0) - case["best_f1"].as_f64().unwrap()).abs() < 1e-12, "label {l}");
        if let Some(expected) = case["threshold"].as_f64() {
            assert_eq!(found[l], expected, "label {l}");
        }
    }
}

/// Macro- or micro-F of a decision.
fn goodness(objective: Objective, decision: &Decision, columns: usize, values: &[f64], targets: &LabelRows) -> f64 {
    let decided = decision.decide(&Scores::Dense { columns, values: values.to_vec() });
    let all = per_label(&decided, targets);
    match objective.average {
        Average::Macro => all.iter().map(|c| c.f_beta(objective.beta)).sum::<f64>() / columns as f64,
        Average::Micro => {
            let hits: usize = all.iter().map(|c| c.true_positives).sum();
            let predicted: usize = all.iter().map(|c| c.true_positives + c.false_positives).sum();
            objective.f(hits as f64, predicted as f64, targets.nnz() as f64)
        }
    }
}

/// Few distinct scores, so that ties are common.
fn example() -> impl Strategy<Value = (Vec<f64>, LabelRows, Objective)> {
    let rows = proptest::collection::vec(proptest::collection::vec((0u8..8, proptest::bool::weighted(0.3)), 3), 4..9);
    (rows, prop_oneof![Just(1.0), Just(2.0), Just(0.5)], any::<bool>()).prop_map(|(rows, beta, micro)| {
        let values = rows.iter().flatten().map(|e| f64::from(e.0) / 8.0).collect();
        let truth: Vec<Vec<bool>> = rows.iter().map(|r| r.iter().map(|e| e.1).collect()).collect();
        (values, labels(&truth), Objective { beta, average: if micro { Average::Micro } else { Average::Macro } })
    })
}

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

proptest! {
    #[test]
    fn no_global_threshold_is_better_and_the_lowest_wins((values, targets, objective) in example()) {
        let found = choose(&of(Method::Global, objective), 3, &values, &targets);
        let best = goodness(objective, &found, 3, &values, &targets);
        let at = thresholds(found)[0];
        for candidate in distinct(values.iter().copied()) {
            let other = goodness(objective, &Decision::Thresholds(vec![candidate]), 3, &values, &targets);
            if targets.nnz() == 0 {
                prop_assert_eq!(at, 0.5);
            } else {
                prop_assert!(other < best + 1e-9, "{} at {} beats {} at {}", other, candidate, best, at);
                let of_positive = targets.rows().enumerate().any(|(i, row)| {
                    row.iter().any(|&l| values[i * 3 + l as usize] == candidate)
                });
                let lower = of_positive && candidate < at;
                prop_assert!(!lower || other < best - 1e-9, "{} is as good as {}", candidate, at);
            }
        }
    }

    #[test]
    fn no_thresholds_of_the_labels_are_better((values, targets, objective) in example()) {
        let config = ThresholdsConfig { min_positives: 1, ..of(Method::PerLabel, objective) };
        let found = choose(&config, 3, &values, &targets);
        let best = goodness(objective, &found, 3, &values, &targets);
        let chosen = thresholds(found);
        let seen: Vec<bool> = targets.counts().iter().map(|n| *n > 0).collect();
        let candidates = |l: usize| match seen[l] {
            true => distinct(values.iter().skip(l).step_by(3).copied()),
            // A label without positives has the global threshold, whatever the others have.
            false => vec![chosen[l]],
        };
        for a in candidates(0) {
            for b in candidates(1) {
                for c in candidates(2) {
                    let other = goodness(objective, &Decision::Thresholds(vec![a, b, c]), 3, &values, &targets);
                    prop_assert!(other < best + 1e-9, "{:?} beats {:?}", [a, b, c], chosen);
                }
            }
        }
    }

    #[test]
    fn no_number_of_labels_is_better((values, targets, objective) in example()) {
        let found = choose(&of(Method::TopK, objective), 3, &values, &targets);
        let best = goodness(objective, &found, 3, &values, &targets);
        for k in 1..=3 {
            prop_assert!(goodness(objective, &Decision::TopK(k), 3, &values, &targets) < best + 1e-9);
        }
    }

    #[test]
    fn cardinality_predicts_the_training_share_as_nearly_as_scores_allow((values, targets, _) in example()) {
        let found = thresholds(choose(&of(Method::Cardinality, Objective::default()), 3, &values, &targets));
        let n = targets.len();
        for (l, at) in found.iter().enumerate() {
            let count = |t: f64| values.iter().skip(l).step_by(3).filter(|s| **s >= t).count() as f64;
            let off = (count(*at) - 0.3 * n as f64).abs();
            for other in distinct(values.iter().skip(l).step_by(3).copied()) {
                prop_assert!((count(other) - 0.3 * n as f64).abs() >= off - 1e-9);
            }
            prop_assert!(0.3 * n as f64 >= off - 1e-9, "no prediction at all would be nearer");
        }
    }
}

#[test]
fn rare_labels_take_the_global_threshold_and_are_counted() {
    let truth: Vec<Vec<bool>> = (0..6).map(|i| vec![i < 3, i == 0, false]).collect();
    let targets = labels(&truth);
    let values: Vec<f64> = (0..6).flat_map(|i| [0.9 - 0.1 * f64::from(i), 0.1 + 0.01 * f64::from(i), 0.3]).collect();
    let scores = Scores::Dense { columns: 3, values: values.clone() };
    let config = method(r#"{"method": "per_label", "min_positives": 2}"#);
    let chosen = config.choose(&scores, &targets, &[0.5, 0.1, 0.0]).unwrap();
    let global = thresholds(choose(&method(r#"{"method": "global"}"#), 3, &values, &targets))[0];
    let found = thresholds(chosen.decision);
    assert_eq!((chosen.fallbacks, found[1], found[2]), (2, global, global));
    assert_eq!(found[0], 0.9 - 0.1 * 2.0);
}

#[test]
fn methods_that_need_validation_data_or_all_scores_say_so() {
    let per_label = method(r#"{"method": "per_label"}"#);
    assert_eq!(
        per_label.without_validation().unwrap_err().to_string(),
        "thresholds.method = per_label needs validation data; set data.validation"
    );
    assert_eq!(
        method(r#"{"method": "fixed", "value": 0.3}"#).without_validation().unwrap(),
        Decision::Thresholds(vec![0.3])
    );
    assert_eq!(method(r#"{"method": "top_k", "k": 2}"#).without_validation().unwrap(), Decision::TopK(2));
    let top = Scores::Top { columns: 3, rows: vec![vec![(0, 0.5f32)]] };
    let mut targets = LabelRows::new(3);
    targets.push(&[0]);
    assert_eq!(per_label.choose(&top, &targets, &[0.1; 3]).unwrap_err(), ThresholdError::NotAllScores("per_label"));
    let zero = method(r#"{"method": "top_k", "k": 0}"#).check().unwrap_err();
    assert_eq!(zero.to_string(), "thresholds.k = 0 is out of range: at least 1");
    let bad: Result<ThresholdsConfig, _> = serde_json::from_value(read(r#"{"method": "global", "objective": "f1"}"#));
    let expected = "thresholds.objective = `f1` is no F measure; expected f<β>_macro or f<β>_micro, as f1_macro";
    assert_eq!(bad.unwrap_err().to_string(), expected);
}

#[test]
fn objectives_are_written_as_they_are_read() {
    for text in ["f1_macro", "f2_micro", "f0.5_macro"] {
        assert_eq!(text.parse::<Objective>().unwrap().to_string(), text);
    }
}

#[test]
fn the_k_best_labels_are_decided_for_and_the_last_ones_score_is_the_threshold() {
    let scores = Scores::Dense { columns: 3, values: vec![0.2f32, 0.9, 0.2, 0.0, 0.1, 0.3] };
    let decided = Decision::TopK(2).decide(&scores);
    assert_eq!(decided.rows().collect::<Vec<_>>(), [&[0u32, 1][..], &[1, 2]]);
    assert!((Decision::TopK(2).threshold(0, &[0.0f32, 0.1, 0.3]) - f64::from(0.1f32)).abs() < 1e-12);
}
