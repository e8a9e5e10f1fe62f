//! The numbers of a model by stable names: in and out of tensors, and as safetensors bytes.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use host::HostView;

/// Weights that do not fit a model, or bytes that are no weights.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightsError {
    /// The bytes cannot be read.
    #[error("not a safetensors file: {0}")]
    Format(String),
    /// A tensor of the model is absent.
    #[error("no tensor `{0}`")]
    Absent(String),
    /// A tensor has another shape than the model's.
    #[error("tensor `{name}` has shape {found:?}, the model's is {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// In the model.
        expected: Vec<usize>,
    },
}

/// Named arrays of 32-bit floats.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights(pub BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Weights {
    /// All parameters and running statistics of `module`, by their path in it.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut weights = Self::default();
        weights.add(module, &[]);
        weights
    }

    /// Adds those of one more module, their paths below `prefix`.
    pub fn add<M: Module>(&mut self, module: &M, prefix: &[&str]) {
        let mut collector = Collector { path: owned(prefix), out: self };
        module.visit(&mut collector);
    }

    /// `module` with these numbers, looked up below `prefix`; every tensor of the module must be here.
    ///
    /// # Errors
    /// For an absent tensor or another shape.
    pub fn apply<M: Module>(&self, module: M, prefix: &[&str]) -> Result<M, WeightsError> {
        let mut loader = Loader { weights: self, path: owned(prefix), error: None };
        let module = module.map(&mut loader);
        match loader.error {
            Some(error) => Err(error),
            None => Ok(module),
        }
    }

    /// As the bytes of a safetensors file.
    ///
    /// # Errors
    /// Only for more or larger tensors than the format holds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .0
            .iter()
            .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let mut views = Vec::with_capacity(bytes.len());
        for (name, shape, data) in &bytes {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), data).map_err(format_error)?;
            views.push((name.as_str(), view));
        }
        safetensors::serialize(views, None).map_err(format_error)
    }

    /// From the bytes of a safetensors file.
    ///
    /// # Errors
    /// For bytes that are none, or tensors of another type.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsError> {
        let file = SafeTensors::deserialize(bytes).map_err(format_error)?;
        let mut out = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(WeightsError::Format(format!("tensor `{name}` is {:?}, expected F32", view.dtype())));
            }
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            out.insert(name, (view.shape().to_vec(), values));
        }
        Ok(Self(out))
    }
}

fn format_error(error: impl std::fmt::Display) -> WeightsError {
    WeightsError::Format(error.to_string())
}

/// Joins the names on the way to a parameter; the enum's variant comes first.
fn name_of(path: &[String]) -> String {
    path.join(".")
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|p| (*p).to_owned()).collect()
}

struct Collector<'a> {
    path: Vec<String>,
    out: &'a mut Weights,
}

impl ModuleVisitor for Collector<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let values = HostView::of(&tensor).as_slice().to_vec();
        self.out.0.insert(name_of(&self.path), (tensor.dims().to_vec(), values));
    }
}

struct Loader<'a> {
    weights: &'a Weights,
    path: Vec<String>,
    error: Option<WeightsError>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = name_of(&self.path);
        let expected = param.val().dims();
        match self.weights.0.get(&name) {
            None => self.error = Some(WeightsError::Absent(name)),
            Some((found, _)) if *found != expected => {
                let (found, expected) = (found.clone(), expected.to_vec());
                self.error = Some(WeightsError::Shape { name, found, expected });
            }
            Some((_, values)) => {
                let values = values.clone();
                return param.map(|old| {
                    let data = TensorData::new(values, expected);
                    Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
                });
            }
        }
        param
    }
}
