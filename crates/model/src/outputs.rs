//! What a model makes of a batch that it trains on.

use burn::tensor::Tensor;

/// A loss of a model's own.
#[derive(Debug, Clone)]
pub enum Part {
    /// Of each instance, `[batch]`; the mean over the batch counts.
    Instances(Tensor<1>),
    /// Of the batch as a whole, `[1]`.
    Batch(Tensor<1>),
}

/// Logits, and the losses that a model brings itself.
///
/// The parts stand beside a label loss that is summed over labels and averaged over the batch; where the label loss is
/// divided by the number of labels, so are they.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// What the model predicts of the batch, `[batch, labels]`: what samplers look at.
    pub logits: Tensor<2>,
    /// What the label loss looks at in its place; none: the same.
    pub judged: Option<Tensor<2>>,
    /// Factor of the label loss; 0 in a model whose own parts replace it.
    pub weight: f64,
    /// The model's own losses by name, weights applied.
    pub parts: Vec<(&'static str, Part)>,
}

impl Outputs {
    /// Logits alone.
    pub fn of(logits: Tensor<2>) -> Self {
        Self { logits, judged: None, weight: 1.0, parts: Vec::new() }
    }

    /// With one more loss.
    pub fn with(mut self, name: &'static str, part: Part) -> Self {
        self.parts.push((name, part));
        self
    }
}
