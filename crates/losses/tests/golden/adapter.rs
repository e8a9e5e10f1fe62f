//! The GPU that tests run on.

use burn::backend::wgpu::wgpu;
use burn::tensor::Device;

/// The default adapter; none where there is none, which is said with `what` is left out.
pub fn gpu(what: &str) -> Option<Device> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = futures_lite::future::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    if adapters.is_empty() {
        eprintln!("SKIPPED: no Vulkan, Metal or DX12 adapter, {what} on wgpu");
        return None;
    }
    Some(Device::wgpu(Default::default()))
}
