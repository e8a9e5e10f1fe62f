//! ZLPR: every present label above 0, every absent one below, over log-sum-exp of the whole instance.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::logits::log_one_plus_sum_exp;
use crate::{Loss, LossValues};

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
}
