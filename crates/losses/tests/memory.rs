//! How many `[batch, labels]` arrays a loss keeps alive between its forward and its backward pass.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use burn::tensor::{Device, Tensor, TensorData};
use losses::{LossConfig, Reduction, TrainingCounts};
use serde_json::json;

struct Counting;
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

// SAFETY: hands every request to the system's allocator unchanged; the count is beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed) + layout.size() as isize;
        PEAK.fetch_max(live, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn no_loss_keeps_more_than_four_arrays_alive() {
    let (batch, labels) = (256, 2_000);
    let device = Device::flex();
    let counts = TrainingCounts { labels: vec![20; labels], negatives: 10, instances: 10_000 };
    let logits: Vec<f32> = (0..batch * labels).map(|i| (i % 17) as f32 - 8.0).collect();
    let targets: Vec<f32> = (0..batch * labels).map(|i| f32::from(u8::from(i % 31 == 0))).collect();
    let z = Tensor::<2>::from_data(TensorData::new(logits, [batch, labels]), &device.clone().autodiff()).require_grad();
    let targets = Tensor::<2>::from_data(TensorData::new(targets, [batch, labels]), &device);
    for config in [
        json!({"kind": "bce"}),
        json!({"kind": "focal"}),
        json!({"kind": "asymmetric"}),
        json!({"kind": "class_balanced"}),
        json!({"kind": "any_class"}),
        json!({"kind": "any_class", "base": "focal", "class_balanced": {}}),
        json!({"kind": "zlpr"}),
        json!({"kind": "two_way"}),
        json!({"kind": "distribution_balanced"}),
        json!({"kind": "adaptive_threshold"}),
        json!({"kind": "adaptive_threshold", "margin": "band"}),
    ] {
        let loss = serde_json::from_value::<LossConfig>(config.clone()).unwrap().init(&counts, &device).unwrap();
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let sum = loss.forward(z.clone(), targets.clone()).reduce(Reduction::Sum);
        let arrays = |bytes: isize| (bytes - before) as f64 / (batch * labels * 4) as f64;
        let kept = arrays(LIVE.load(Ordering::Relaxed));
        println!(
            "{config}: keeps {kept:.2}, needs {:.2} within the forward pass",
            arrays(PEAK.load(Ordering::Relaxed))
        );
        assert!(kept < 4.1, "{config} keeps {kept:.2} arrays of [batch, labels]");
        drop(sum);
    }
}
