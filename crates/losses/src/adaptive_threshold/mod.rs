//! Adaptive thresholds: one for each label and instance, learnt with the model, from how rare the label is and how the
//! instance's neighbours vote.
//!
//! [`AdaptiveThresholds`] are the learnt part: they turn logits `z` into distances `z - θ`, in training and in
//! prediction alike. [`AdaptiveThreshold`] is the loss of those distances. The signals come from [`crate::rarity`] and
//! [`crate::neighbours`]; the config says from where, and which of the sources look at the true labels.

mod config;
mod learnt;

use burn::tensor::Tensor;
use kernels::loss::{Margin, RowForm};

use crate::fused::{Fused, Row, RowLoss};
use crate::{Loss, LossForm, LossValues, margin};

pub use config::{AdaptiveThresholdConfig, Idf, MarginKind, NeighbourSource, PredictSource, Signals, ThresholdLink};
pub use learnt::{AdaptiveThresholds, Explainer, ThresholdParts};

/// `base(z - θ, y) + λ_m Σ_l margin(z - θ, y)`: a loss of distances, which [`AdaptiveThresholds`] makes of logits.
pub struct AdaptiveThreshold {
    base: Box<dyn Loss>,
    margin: MarginKind,
    weight: f64,
    delta: f64,
}

impl Loss for AdaptiveThreshold {
    fn forward(&self, distance: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let mut values = self.base.forward(distance.clone(), targets.clone());
        if self.weight > 0.0 {
            // Weights of instances are the base's, not the margin's.
            values = values.with_weights_applied();
            let margin = match self.margin {
                MarginKind::Hinge => margin::hinge(distance, targets, self.delta),
                MarginKind::Band => margin::band(distance, self.delta),
            };
            let sum = margin.sum_dim(1).squeeze_dim::<1>(1).mul_scalar(self.weight);
            values.instance.push(("margin", sum));
        }
        values
    }

    fn fused(&self) -> Option<Fused<'_>> {
        matches!(self.base.fused(), Some(Fused::Rows(_))).then_some(Fused::Rows(self))
    }

    fn form(&self, labels: usize) -> Option<LossForm> {
        let Some(LossForm::Rows(form)) = self.base.form(labels) else { return None };
        let (delta, weight) = (self.delta as f32, self.weight as f32);
        let margin = (self.weight > 0.0).then(|| Margin { delta, weight, band: self.margin == MarginKind::Band });
        Some(LossForm::Rows(RowForm { margin, ..form }))
    }
}

impl RowLoss for AdaptiveThreshold {
    fn parts(&self) -> &'static [&'static str] {
        let base = match self.base.fused() {
            Some(Fused::Rows(base)) => base.parts(),
            _ => &[],
        };
        match base {
            base if self.weight == 0.0 => base,
            ["labels"] => &["labels", "margin"],
            ["labels", "presence"] => &["labels", "presence", "margin"],
            _ => &["ranking", "margin"],
        }
    }

    fn row(&self, row: Row, parts: &mut [f32]) {
        let Some(Fused::Rows(base)) = self.base.fused() else { return };
        if self.weight == 0.0 {
            return base.row(row, parts);
        }
        let Row { values, present, weights, scale } = row;
        let (delta, slope) = (self.delta as f32, self.weight as f32 * scale);
        // (part of the margin, its slope) of a label on side s: 1 present, -1 absent.
        let hinge = |d: f32, s: f32| (delta - s * d, -s);
        let band = |d: f32| (delta - d.abs(), if d == 0.0 { 0.0 } else { -d.signum() });
        let part = |d: f32, s: f32| match self.margin {
            MarginKind::Hinge => hinge(d, s),
            MarginKind::Band => band(d),
        };
        // Distances are read before the base turns them into its gradient.
        let mut slopes = vec![0.0; values.len()];
        let mut sum = 0.0;
        let mut next = 0;
        for (l, (d, out)) in values.iter().zip(&mut slopes).enumerate() {
            let is_present = present.get(next) == Some(&(l as u32));
            next += usize::from(is_present);
            let (value, direction) = part(*d, if is_present { 1.0 } else { -1.0 });
            if value > 0.0 {
                sum += value;
                *out = direction * slope;
            }
        }
        let last = parts.len() - 1;
        base.row(Row { values: &mut *values, present, weights, scale }, &mut parts[..last]);
        values.iter_mut().zip(slopes).for_each(|(v, s)| *v += s);
        parts[last] = sum * self.weight as f32;
    }
}
