//! ZLPR: every present label above 0, every absent one below, over log-sum-exp of the whole instance.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use host::simd::{self, LANES, each};
use kernels::loss::{LabelForm, RowForm};

use crate::fused::{Fused, Row, RowLoss, set_aside};
use crate::logits::log_one_plus_sum_exp;
use crate::{Loss, LossForm, LossValues};

/// `log(1 + Σ_{p∈Y} e^{-z_p}) + log(1 + Σ_{q∉Y} e^{z_q})`: the zero-bounded log-sum-exp and pairwise rank-based loss.
///
/// Finite, with finite gradients, for every finite logit. Decisions are made at z = 0.
///
/// Shapes: `logits`, `targets` `[batch, labels]` → `[batch]`.
/// Source: Su et al. 2022, arXiv 2208.02955, eq. 4.
pub fn zlpr(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let absent = targets.clone().neg().add_scalar(1.0);
    let present = log_one_plus_sum_exp(logits.clone().neg(), targets, 1);
    (present + log_one_plus_sum_exp(logits, absent, 1)).squeeze_dim::<1>(1)
}

/// Settings of [`Zlpr`]: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZlprConfig {}

/// The ZLPR loss.
#[derive(Debug, Clone, Default)]
pub struct Zlpr;

impl Loss for Zlpr {
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let [_, labels] = logits.dims();
        LossValues::of_instances(vec![("ranking", zlpr(logits, targets))], labels)
    }

    fn fused(&self) -> Option<Fused<'_>> {
        Some(Fused::Rows(self))
    }

    fn form(&self, _labels: usize) -> Option<LossForm> {
        Some(LossForm::Rows(RowForm::of_labels(LabelForm::Ranking)))
    }
}

impl RowLoss for Zlpr {
    fn parts(&self) -> &'static [&'static str] {
        &["ranking"]
    }

    fn row(&self, row: Row, parts: &mut [f32]) {
        let Row { values, present, scale, .. } = row;
        let kept = set_aside(values, present);
        let top = kept.iter().fold(0.0f32, |top, z| top.max(-z));
        let sum = kept.iter().fold((-top).exp(), |sum, z| sum + (-z - top).exp());
        let absent = log_sum_exp_with_gradient(values, scale);
        for (&l, z) in present.iter().zip(kept) {
            values[l as usize] = -scale * (-z - top).exp() / sum;
        }
        parts[0] = absent + top + sum.ln();
    }
}

/// `log(1 + Σ_j e^{z_j})`; the values become `scale` times its gradient.
fn log_sum_exp_with_gradient(values: &mut [f32], scale: f32) -> f32 {
    simd::vectorised(
        #[inline(always)]
        || {
            let mut tops = [0.0f32; LANES];
            each(
                values,
                #[inline(always)]
                |v, lane| tops[lane] = tops[lane].max(*v),
            );
            let top = tops.iter().fold(0.0f32, |a, b| a.max(*b));
            let mut sums = [0.0; LANES];
            each(
                values,
                #[inline(always)]
                |v, lane| {
                    *v = simd::exp(*v - top);
                    sums[lane] += *v;
                },
            );
            let sum = simd::sum_lanes(&sums) + (-top).exp();
            let factor = scale / sum;
            each(
                values,
                #[inline(always)]
                |v, _| *v *= factor,
            );
            top + sum.ln()
        },
    )
}
