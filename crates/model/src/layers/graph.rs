//! Embeddings of labels that listen to their neighbours in a graph.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use super::encoder::relu;
use super::{Linear, constant};
use crate::Pass;

/// A layer of a graph isomorphism network: `MLP((1 + ε) e + A e)`, plus `e` itself where the widths are the same.
///
/// The MLP has one hidden layer; each of its layers is followed by batch norm over the labels, leaky relu and dropout.
/// Source: Xu et al., ICLR 2019; as used by Hang and Zhang, TPAMI 2022.
#[derive(Module, Debug)]
pub struct GraphLayer {
    epsilon: Param<Tensor<1>>,
    layers: Vec<Linear>,
    norms: Vec<BatchNorm>,
    #[module(skip)]
    slope: f64,
    #[module(skip)]
    dropout: f64,
}

impl GraphLayer {
    /// From `widths[0]` through the hidden width to `widths[2]`.
    pub fn new(widths: [usize; 3], slope: f64, dropout: f64, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        Self {
            epsilon: constant(0.0, [1], device),
            layers: widths.windows(2).map(|w| Linear::before_relu(w[0], w[1], slope, rng, device)).collect(),
            norms: widths[1..].iter().map(|w| BatchNormConfig::new(*w).init(device)).collect(),
            slope,
            dropout,
        }
    }

    /// `embedding` `[labels, width]`, `adjacency` `[labels, labels]` → `[labels, units]`.
    pub fn forward(&self, embedding: Tensor<2>, adjacency: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let neighbours = adjacency.matmul(embedding.clone());
        let own = embedding.clone() * self.epsilon.val().add_scalar(1.0).unsqueeze();
        let mut x = own + neighbours;
        for (layer, norm) in self.layers.iter().zip(&self.norms) {
            x = pass.dropout(relu(norm.forward(layer.forward(x)), self.slope), self.dropout);
        }
        if x.dims() == embedding.dims() { x + embedding } else { x }
    }
}

/// How far the cosines of label embeddings are from the label graph: `mean((A + I - cos(e, e))²)`, `[1]`.
///
/// Shapes: `embedding` `[labels, width]`, `adjacency` `[labels, labels]`.
/// Source: Hang and Zhang, TPAMI 2022.
pub fn link_loss(embedding: Tensor<2>, adjacency: Tensor<2>) -> Tensor<1> {
    let labels = embedding.dims()[0];
    let norm = (embedding.clone() * embedding.clone()).sum_dim(1).add_scalar(1e-12).sqrt();
    let unit = embedding / norm;
    let wanted = adjacency + Tensor::eye(labels, &unit.device().without_autodiff());
    let off = unit.clone().matmul(unit.transpose()) - wanted;
    (off.clone() * off).mean()
}
