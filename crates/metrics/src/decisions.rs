//! Metrics of decided label sets. An undefined precision, recall or F is 0, and the label or instance still counts.

use data::LabelRows;

use crate::MetricTable;

/// True positives, false positives and false negatives of one label (or of all together).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Decided and true.
    pub true_positives: usize,
    /// Decided and not true.
    pub false_positives: usize,
    /// True and not decided.
    pub false_negatives: usize,
}

impl Confusion {
    /// `tp / (tp + fp)`; 0 when nothing was decided.
    pub fn precision(&self) -> f64 {
        ratio(self.true_positives as f64, (self.true_positives + self.false_positives) as f64)
    }

    /// `tp / (tp + fn)`; 0 when nothing is true.
    pub fn recall(&self) -> f64 {
        ratio(self.true_positives as f64, self.support() as f64)
    }

    /// `(1 + β²) tp / ((1 + β²) tp + β² fn + fp)`; 0 when that is 0/0.
    pub fn f_beta(&self, beta: f64) -> f64 {
        let (tp, b2) = (self.true_positives as f64, beta * beta);
        let rest = b2 * self.false_negatives as f64 + self.false_positives as f64;
        ratio((1.0 + b2) * tp, (1.0 + b2) * tp + rest)
    }

    /// True instances.
    pub fn support(&self) -> usize {
        self.true_positives + self.false_negatives
    }

    fn add(&mut self, other: Self) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
    }

    fn of_sets(predicted: &[u32], truth: &[u32]) -> Self {
        let hits = predicted.iter().filter(|l| truth.binary_search(l).is_ok()).count();
        Self { true_positives: hits, false_positives: predicted.len() - hits, false_negatives: truth.len() - hits }
    }
}

/// The confusion of each label.
pub fn per_label(predicted: &LabelRows, targets: &LabelRows) -> Vec<Confusion> {
    let mut out = vec![Confusion::default(); targets.columns()];
    for (p, t) in predicted.rows().zip(targets.rows()) {
        for &l in p {
            match t.binary_search(&l) {
                Ok(_) => out[l as usize].true_positives += 1,
                Err(_) => out[l as usize].false_positives += 1,
            }
        }
        for &l in t.iter().filter(|l| p.binary_search(l).is_err()) {
            out[l as usize].false_negatives += 1;
        }
    }
    out
}

/// `f1_negative`: "no label at all" as a binary decision of each instance.
pub fn f1_negative(predicted: &LabelRows, targets: &LabelRows) -> f64 {
    let mut c = Confusion::default();
    for (p, t) in predicted.rows().zip(targets.rows()) {
        match (p.is_empty(), t.is_empty()) {
            (true, true) => c.true_positives += 1,
            (true, false) => c.false_positives += 1,
            (false, true) => c.false_negatives += 1,
            (false, false) => {}
        }
    }
    c.f_beta(1.0)
}

pub(crate) fn fill(table: &mut MetricTable, predicted: &LabelRows, targets: &LabelRows) {
    let labels = per_label(predicted, targets);
    let mut all = Confusion::default();
    labels.iter().for_each(|c| all.add(*c));
    let macro_of = |f: &dyn Fn(&Confusion) -> f64| ratio(labels.iter().map(f).sum(), labels.len() as f64);
    let support = all.support() as f64;
    let weighted =
        |f: &dyn Fn(&Confusion) -> f64| ratio(labels.iter().map(|c| f(c) * c.support() as f64).sum(), support);
    let samples: Vec<Confusion> = predicted.rows().zip(targets.rows()).map(|(p, t)| Confusion::of_sets(p, t)).collect();
    let n = samples.len() as f64;
    let mean = |f: &dyn Fn(&Confusion) -> f64| ratio(samples.iter().map(f).sum(), n);
    let f1 = |c: &Confusion| c.f_beta(1.0);
    let f2 = |c: &Confusion| c.f_beta(2.0);
    let wrong = |c: &Confusion| (c.false_positives + c.false_negatives) as f64;

    table.push("f1_micro", f1(&all));
    table.push("precision_micro", all.precision());
    table.push("recall_micro", all.recall());
    table.push("f1_macro", macro_of(&f1));
    table.push("precision_macro", macro_of(&Confusion::precision));
    table.push("recall_macro", macro_of(&Confusion::recall));
    table.push("f1_weighted", weighted(&f1));
    table.push("precision_weighted", weighted(&Confusion::precision));
    table.push("recall_weighted", weighted(&Confusion::recall));
    table.push("f1_samples", mean(&f1));
    table.push("precision_samples", mean(&Confusion::precision));
    table.push("recall_samples", mean(&Confusion::recall));
    table.push("f2_macro", macro_of(&f2));
    table.push("f2_micro", f2(&all));
    table.push("f1_negative", f1_negative(predicted, targets));
    table.push("hamming_loss", mean(&wrong) / targets.columns().max(1) as f64);
    table.push("subset_accuracy", mean(&|c| f64::from(wrong(c) == 0.0)));
    table.push(
        "jaccard_samples",
        mean(&|c| {
            let hits = c.true_positives as f64;
            ratio(hits, hits + wrong(c))
        }),
    );
}

fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}
