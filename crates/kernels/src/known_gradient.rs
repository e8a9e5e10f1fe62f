//! A value whose gradient is known already.
#![expect(deprecated, reason = "ndarray is deprecated upstream and kept here by request")]

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Dispatch, Flex, NdArray, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::CubeBackend;

/// The operation, as Burn dispatches it.
#[backend_extension(Cube, Flex, NdArray, Autodiff, Fusion)]
pub trait KnownGradient: burn::backend::Backend {
    /// `value` itself.
    #[fusion(dtype = value, shape = value)]
    fn known_gradient(
        input: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

macro_rules! value_itself {
    ($($backend:ty),*) => {
        $(impl KnownGradient for $backend {
            fn known_gradient(
                _input: FloatTensor<Self>,
                value: FloatTensor<Self>,
                _gradient: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                value
            }
        })*
    };
}

value_itself!(CubeBackend, Flex, NdArray);

impl<B: KnownGradient, C: CheckpointStrategy> KnownGradient for Autodiff<B, C> {
    fn known_gradient(
        input: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Known;

        impl<B: burn::backend::Backend> Backward<B, 1> for Known {
            type State = FloatTensor<B>;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let upstream = grads.consume::<B>(&ops.node);
                if let [Some(input)] = ops.parents {
                    let upstream = B::float_reshape(upstream, Shape::from(vec![1, 1]));
                    grads.register::<B>(input.id, B::float_mul(ops.state, upstream));
                }
            }
        }

        match Known.prepare::<C>([input.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(gradient.into_primitive(), value.into_primitive()),
            OpsKind::UnTracked(prep) => prep.finish(value.into_primitive()),
        }
    }
}

/// `value`, whose gradient by `input` is `gradient`; autodiff goes on from there to what `input` was made from.
///
/// Shapes: `input`, `gradient` `[rows, columns]`, `value` `[1]`. `value` and `gradient` are constants to autodiff.
pub fn known_gradient(input: Tensor<2>, value: Tensor<1>, gradient: Tensor<2>) -> Tensor<1> {
    let value = Dispatch::known_gradient(input.into_dispatch(), value.into_dispatch(), gradient.into_dispatch());
    Tensor::from_dispatch(value)
}
