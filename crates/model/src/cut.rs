//! A part of the forward pass that is made outside the autodiff graph, and how gradients cross it.
//!
//! Tensors of `[batch, labels, units]` would not fit into memory, or cost more than the numbers they hold are worth. So
//! the logits are made without a graph, piece by piece, and enter what follows as a leaf. Once the gradient by them is
//! known, the pieces are made again (or their backward pass is written out), and the graph before them goes on from the
//! sum of every input times its gradient.

use std::fmt;
use std::ops::Range;
use std::sync::Once;

use burn::tensor::Tensor;
use host::plain;
use kernels::known_gradient;

use crate::Pass;

type Earlier = Box<dyn FnOnce(Tensor<2>) -> Vec<Tensor<2>> + Send>;

/// A cut through the autodiff graph.
pub struct Cut {
    /// The leaf that the later graph starts from, `[batch, labels]`.
    pub output: Tensor<2>,
    /// Where the earlier graph ends.
    inputs: Vec<Tensor<2>>,
    /// From the gradient by the output to those by the inputs.
    backward: Earlier,
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Cut").field("output", &self.output.dims()).finish_non_exhaustive()
    }
}

impl Cut {
    /// Cuts between `inputs` and `output`, the values without a graph; the leaf goes onto the pass.
    pub(crate) fn between(
        inputs: Vec<Tensor<2>>,
        output: Tensor<2>,
        pass: &mut Pass,
        backward: impl FnOnce(Tensor<2>) -> Vec<Tensor<2>> + Send + 'static,
    ) -> Tensor<2> {
        let output = Tensor::from_inner(output).require_grad();
        pass.cut = Some(Self { output: output.clone(), inputs, backward: Box::new(backward) });
        output
    }

    /// The end of the earlier graph, `[1]`: its gradients are those of the loss, of which `gradient` is the one by the
    /// output; its value means nothing.
    pub fn earlier(self, gradient: Tensor<2>) -> Tensor<1> {
        let gradients = (self.backward)(plain(gradient));
        let nothing = Tensor::<1>::zeros([1], &plain(self.output.clone()).device());
        let end = |(input, gradient): (Tensor<2>, Tensor<2>)| known_gradient(input, nothing.clone(), gradient);
        let ends = self.inputs.into_iter().zip(gradients).map(end).reduce(|a, b| a + b);
        // There is at least one input.
        ends.unwrap_or_else(|| self.output.sum())
    }
}

/// `f(inputs, 0..labels)`, `[batch, labels]`: at once where `of_label` bytes a label fit the pass's room, else piece by
/// piece.
pub(crate) fn over_labels(
    inputs: Vec<Tensor<2>>,
    labels: usize,
    of_label: usize,
    pass: &mut Pass,
    f: impl Fn(&[Tensor<2>], Range<usize>) -> Tensor<2> + Send + 'static,
) -> Tensor<2> {
    if of_label * labels <= pass.room {
        return f(&inputs, 0..labels);
    }
    let size = (pass.room / of_label.max(1)).max(1);
    say_once(of_label * labels, pass.room, size);
    in_pieces(inputs, pieces(labels, size), pass, f)
}

/// Says that the labels are gone over piece by piece, the first time.
fn say_once(needed: usize, room: usize, labels: usize) {
    static SAID: Once = Once::new();
    let mebibytes = |bytes: usize| bytes >> 20;
    SAID.call_once(|| {
        tracing::info!(
            "all labels at once would take {} MiB of the {} MiB set aside; going over them {labels} at a time",
            mebibytes(needed),
            mebibytes(room)
        );
    });
}

/// `f(inputs, piece)` for consecutive pieces of labels, side by side; each gives `[batch, labels of the piece]`.
///
/// While training, every piece is made twice: once for its values, once more for its gradients. `f` must give the same
/// both times.
fn in_pieces(
    inputs: Vec<Tensor<2>>,
    pieces: Vec<Range<usize>>,
    pass: &mut Pass,
    f: impl Fn(&[Tensor<2>], Range<usize>) -> Tensor<2> + Send + 'static,
) -> Tensor<2> {
    let values: Vec<Tensor<2>> = inputs.iter().map(|t| plain(t.clone())).collect();
    let made = |piece: &Range<usize>| {
        let piece = f(&values, piece.clone());
        finish(&piece);
        piece
    };
    let output = Tensor::cat(pieces.iter().map(made).collect(), 1);
    if !pass.is_training() {
        return output;
    }
    Cut::between(inputs, output, pass, move |gradient| {
        let mut sums: Vec<Tensor<2>> = values.iter().map(Tensor::zeros_like).collect();
        let batch = gradient.dims()[0];
        for piece in pieces {
            let leaves: Vec<Tensor<2>> = values.iter().map(|v| Tensor::from_inner(v.clone()).require_grad()).collect();
            let own = gradient.clone().slice([0..batch, piece.clone()]);
            let mut found = (f(&leaves, piece) * Tensor::from_inner(own)).sum().backward();
            for (sum, leaf) in sums.iter_mut().zip(leaves) {
                if let Some(gradient) = leaf.grad_remove(&mut found) {
                    *sum = sum.clone() + plain(gradient);
                }
            }
            sums.first().into_iter().for_each(finish);
        }
        sums
    })
}

/// Waits until a piece is made: what it took is free again before the next one takes its own.
fn finish(piece: &Tensor<2>) {
    // A device that fails says so again where its numbers are read.
    drop(piece.device().sync());
}

/// `0..count` in pieces of at most `size`.
pub(crate) fn pieces(count: usize, size: usize) -> Vec<Range<usize>> {
    let size = size.max(1);
    (0..count).step_by(size).map(|start| start..(start + size).min(count)).collect()
}
