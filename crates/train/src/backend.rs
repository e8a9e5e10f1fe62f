//! The one place that knows backends by name.

use std::fmt;
use std::str::FromStr;

use burn::backend::wgpu::wgpu;
use burn::tensor::{Device, DeviceKind};
use serde::Serialize;

use crate::error::{Error, Result};

/// A backend a user can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A real GPU through wgpu if there is one, else flex.
    Auto,
    /// Any GPU: Vulkan, Metal, DX12.
    Wgpu,
    /// CPU, Burn's ndarray backend.
    NdArray,
    /// CPU, Burn's flex backend.
    Flex,
    /// NVIDIA, where built.
    Cuda,
    /// Apple, where built.
    Metal,
    /// Vulkan with SPIR-V, where built.
    Vulkan,
    /// AMD, where built.
    Rocm,
}

const NAMES: &[(&str, Backend)] = &[
    ("auto", Backend::Auto),
    ("wgpu", Backend::Wgpu),
    ("ndarray", Backend::NdArray),
    ("flex", Backend::Flex),
    ("cuda", Backend::Cuda),
    ("metal", Backend::Metal),
    ("vulkan", Backend::Vulkan),
    ("rocm", Backend::Rocm),
];

impl FromStr for Backend {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let found = NAMES.iter().find(|n| n.0 == s).map(|n| n.1);
        found.ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|n| n.0).collect();
            format!("no such backend; known: {}", known.join(", "))
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(NAMES.iter().find(|n| n.1 == *self).map_or("", |n| n.0))
    }
}

impl Backend {
    /// True where this binary holds it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Auto | Self::Wgpu | Self::NdArray | Self::Flex => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Rocm => cfg!(feature = "rocm"),
        }
    }
}

/// A device that is ready, and what it is.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Where tensors live (no autodiff yet).
    pub device: Device,
    /// The backend in the end, never `auto`.
    pub backend: Backend,
    /// The adapter's name; the processor for CPU backends.
    pub adapter: String,
}

/// One GPU (or software) adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Adapter {
    /// Number for `--device`.
    pub index: usize,
    /// As the driver names it.
    pub name: String,
    /// discrete, integrated, virtual, software or other.
    pub kind: &'static str,
    /// Vulkan, Metal, Dx12, …
    pub api: String,
    /// Driver and its version.
    pub driver: String,
    /// The largest buffer it allows, in bytes; APIs do not tell the memory itself.
    pub max_buffer_bytes: u64,
    #[serde(skip)]
    select: DeviceKind,
}

impl Adapter {
    /// A processor that plays GPU.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }
}

/// All adapters wgpu finds through the first API that has any.
pub fn adapters() -> Vec<Adapter> {
    use burn::backend::wgpu::graphics::AutoGraphicsApi;
    // Without OpenGL: no backend here runs on it, and looking for it talks to displays.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    for api in AutoGraphicsApi::chain() {
        let found = futures_lite::future::block_on(instance.enumerate_adapters(api.into()));
        if !found.is_empty() {
            return number(&found);
        }
    }
    Vec::new()
}

/// Every kind of adapter counts from 0 on its own, which is how devices are selected.
fn number(found: &[wgpu::Adapter]) -> Vec<Adapter> {
    let (mut discrete, mut integrated, mut virtual_) = (0, 0, 0);
    let next = |counter: &mut usize| {
        *counter += 1;
        *counter - 1
    };
    let mut list = Vec::new();
    for (index, adapter) in found.iter().enumerate() {
        let info = adapter.get_info();
        let (kind, select) = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => ("discrete", DeviceKind::DiscreteGpu(next(&mut discrete))),
            wgpu::DeviceType::IntegratedGpu => ("integrated", DeviceKind::IntegratedGpu(next(&mut integrated))),
            wgpu::DeviceType::VirtualGpu => ("virtual", DeviceKind::VirtualGpu(next(&mut virtual_))),
            wgpu::DeviceType::Cpu => ("software", DeviceKind::Cpu),
            wgpu::DeviceType::Other => ("other", DeviceKind::DefaultDevice),
        };
        list.push(Adapter {
            index,
            name: info.name,
            kind,
            api: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            max_buffer_bytes: adapter.limits().max_buffer_size,
            select,
        });
    }
    list
}

/// Makes the device of a backend; `index` picks an adapter.
///
/// # Errors
/// When the backend is not in this build or has no adapter.
pub fn choose(backend: Backend, index: Option<usize>) -> Result<Chosen> {
    if !backend.is_built() {
        return Err(Error::Request(format!(
            "backend {backend} is not in this build; build it with: cargo build -p train --release --features {backend}"
        )));
    }
    match backend {
        Backend::Flex => Ok(cpu(Device::flex(), Backend::Flex)),
        #[expect(deprecated, reason = "the backend is deprecated upstream and kept here by request")]
        Backend::NdArray => Ok(cpu(Device::ndarray(), Backend::NdArray)),
        Backend::Auto => match adapters().into_iter().find(|a| !a.is_software()) {
            Some(adapter) => open(Backend::Wgpu, adapter),
            None => Ok(cpu(Device::flex(), Backend::Flex)),
        },
        Backend::Wgpu | Backend::Vulkan | Backend::Metal => {
            let found = adapters();
            let Some(adapter) = pick(&found, index)? else { return Err(no_adapter(backend)) };
            if adapter.is_software() {
                tracing::warn!(
                    "{} is a software adapter: expect it to be far slower than --backend flex",
                    adapter.name
                );
            }
            open(backend, adapter.clone())
        }
        Backend::Cuda | Backend::Rocm => vendor(backend, index),
    }
}

fn cpu(device: Device, backend: Backend) -> Chosen {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Chosen { device, backend, adapter: format!("CPU, {threads} threads") }
}

fn pick(found: &[Adapter], index: Option<usize>) -> Result<Option<&Adapter>> {
    match index {
        None => Ok(found.iter().find(|a| !a.is_software()).or(found.first())),
        Some(_) if found.is_empty() => Ok(None),
        Some(i) => match found.get(i) {
            Some(adapter) => Ok(Some(adapter)),
            None => Err(Error::Request(format!(
                "--device {i}: there are {} adapters, 0 to {}; `train devices` lists them",
                found.len(),
                found.len() - 1
            ))),
        },
    }
}

fn no_adapter(backend: Backend) -> Error {
    Error::Request(format!(
        "backend {backend}: no adapter found. Install a GPU driver with Vulkan (or Metal, DX12), or for a software \
         adapter on Debian: apt-get install mesa-vulkan-drivers; or use --backend flex"
    ))
}

fn open(backend: Backend, adapter: Adapter) -> Result<Chosen> {
    let device = match backend {
        #[cfg(feature = "vulkan")]
        Backend::Vulkan => Device::vulkan(adapter.select.clone()),
        #[cfg(feature = "metal")]
        Backend::Metal => Device::metal(adapter.select.clone()),
        _ => Device::wgpu(adapter.select.clone()),
    };
    Ok(Chosen { device, backend, adapter: adapter.name })
}

#[cfg(any(feature = "cuda", feature = "rocm"))]
fn vendor(backend: Backend, index: Option<usize>) -> Result<Chosen> {
    use burn::tensor::DeviceType;
    let kind = match backend {
        #[cfg(feature = "cuda")]
        Backend::Cuda => DeviceType::Cuda,
        #[cfg(feature = "rocm")]
        Backend::Rocm => DeviceType::Rocm,
        _ => return Err(no_adapter(backend)),
    };
    let found = std::panic::catch_unwind(|| Device::enumerate(kind).into_vec()).unwrap_or_default();
    let device = found.get(index.unwrap_or(0)).cloned().ok_or_else(|| no_adapter(backend))?;
    let adapter = device.identity().map_or_else(|| backend.to_string(), |i| i.name);
    Ok(Chosen { device, backend, adapter })
}

#[cfg(not(any(feature = "cuda", feature = "rocm")))]
fn vendor(backend: Backend, _index: Option<usize>) -> Result<Chosen> {
    Err(no_adapter(backend))
}
