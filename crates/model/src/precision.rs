//! Products in 16 bits, everything between them in 32.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{FloatDType, Tensor};

use crate::Model;

/// `x · weight`, in the type of the weight, as the type of `x`.
///
/// Shapes: `[rows, inputs]`, `[inputs, outputs]` → `[rows, outputs]`.
pub(crate) fn product(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let narrow = weight.dtype().into();
    product_in(narrow, x, weight)
}

/// `x · weight`, computed in the given type, as the type of `x`.
pub(crate) fn product_in(narrow: FloatDType, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let own: FloatDType = x.dtype().into();
    if own == narrow {
        return x.matmul(weight);
    }
    x.cast(narrow).matmul(weight.cast(narrow)).cast(own)
}

impl Model {
    /// The same model with narrow copies of the matrices that its layers multiply by; gradients reach the matrices
    /// themselves. All other numbers stay as they are, and so does what the layers give.
    ///
    /// `sparse`: features come as compressed rows, whose layer reads a few rows of its matrix and is not narrowed.
    /// Conditional flows, which take logarithms of small differences, are not narrowed either.
    pub fn narrowed(&self, to: FloatDType, sparse: bool) -> Self {
        self.clone().map(&mut Narrow { to, sparse, within: Vec::new() })
    }
}

struct Narrow {
    to: FloatDType,
    sparse: bool,
    /// Where the mapper is: field and type of the struct that has it.
    within: Vec<(String, String)>,
}

impl Narrow {
    fn is_factor(&self) -> bool {
        if self.within.iter().any(|(_, container)| container == "Struct:ConditionalFlow") {
            return false;
        }
        match self.within.last().map(|(field, container)| (field.as_str(), container.as_str())) {
            Some(("weight", "Struct:InputLayer")) => !self.sparse,
            Some(("weight", "Struct:Linear" | "Struct:LabelHead") | ("others", "Struct:JointLayer")) => true,
            _ => false,
        }
    }
}

impl ModuleMapper for Narrow {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.within.push((name.to_owned(), container.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.within.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.is_factor() {
            return param;
        }
        Param::initialized(param.id, param.val().cast(self.to))
    }
}
