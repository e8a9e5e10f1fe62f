//! The losses that have kernels.

use serde_json::{Value, json};

/// Every loss with a kernel of its own, each of its forms, and every composition of kernels.
pub fn all() -> Vec<Value> {
    let mut out = vec![
        json!({"kind": "bce"}),
        json!({"kind": "bce", "pos_weight": 3.0}),
        json!({"kind": "focal", "gamma": 0.0}),
        json!({"kind": "focal", "gamma": 1.0}),
        json!({"kind": "focal", "gamma": 2.0, "alpha": 0.25}),
        json!({"kind": "focal", "gamma": 0.5}),
        json!({"kind": "class_balanced", "base": "bce"}),
        json!({"kind": "class_balanced", "base": {"kind": "any_class", "base": {"kind": "focal", "gamma": 1.0}}}),
        json!({"kind": "any_class"}),
        json!({"kind": "any_class", "alpha": 0.0}),
        json!({"kind": "any_class", "base": "focal", "lambda": 0.2}),
        json!({"kind": "any_class", "class_balanced": {}}),
        json!({"kind": "any_class", "class_balanced": {"instance_weight": "mean"}}),
        json!({"kind": "zlpr"}),
        json!({"kind": "two_way"}),
        json!({"kind": "two_way", "temperature_pos": 1.5, "temperature_neg": 0.7}),
        json!({"kind": "distribution_balanced"}),
        json!({"kind": "distribution_balanced", "gamma": 2.0}),
        json!({"kind": "adaptive_threshold"}),
        json!({"kind": "adaptive_threshold", "margin": "band", "base": "any_class"}),
        json!({"kind": "adaptive_threshold", "base": {"kind": "any_class", "class_balanced": {}}}),
        json!({"kind": "adaptive_threshold", "margin": "band", "margin_weight": 0.5, "base": "zlpr"}),
        json!({"kind": "adaptive_threshold", "margin_weight": 0.5, "base": {"kind": "class_balanced", "base": "focal"}}),
    ];
    for gamma_neg in [0.0, 2.5, 4.0] {
        for clip in [0.0, 0.05] {
            for detach_focusing in [true, false] {
                let (kind, gamma_pos) = ("asymmetric", gamma_neg / 2.0);
                out.push(json!({"kind": kind, "gamma_pos": gamma_pos, "gamma_neg": gamma_neg, "clip": clip,
                    "detach_focusing": detach_focusing}));
            }
        }
    }
    out
}
