//! The kernels of GPUs: against the golden numbers, and against the composed losses on a CPU.

use burn::tensor::{Device, Tensor, TensorData};
use losses::{DeviceLoss, Loss, LossConfig, LossValues, TrainingCounts};
use serde_json::Value;

use crate::every_loss::all;
use crate::{close, numbers, tensor, values};

/// One case of the golden file.
pub fn check_case(name: &str, loss: &dyn Loss, case: &Value, device: &Device, tolerance: f64) {
    let targets = numbers(&case["targets"]);
    if targets.iter().any(|y| *y != 0.0 && *y != 1.0) {
        return;
    }
    let labels = case["targets"][0].as_array().unwrap().len();
    let kernel = DeviceLoss::new(loss, labels, device).expect("a kernel");
    let scale = labels as f32 / targets.len() as f32;
    let (logits, targets) = (tensor(&case["logits"], device), tensor(&case["targets"], device));
    let (found, gradient) = kernel.run(logits, targets, None, scale);
    close(&format!("{name}, kernel"), &values(found.per_instance()), &numbers(&case["per_instance"]), tolerance);
    let expected = numbers(&case["grad_logits_of_loss_sum"]);
    close(&format!("{name}, gradient of the kernel"), &values(gradient), &expected, tolerance);
}

/// Parts and gradient of the losses: ordinary logits, more labels than a workgroup has units, and extreme logits.
pub fn every_kernel_is_its_composed_form(gpu: &Device) {
    let extremes = [80.0, -80.0, -60.0, 30.0, 0.0, 90.0, -90.0, 20.0, -20.0, 70.0, -70.0, 25.0, -25.0];
    for config in all() {
        for (batch, labels, logit) in
            [(7, 3, &ordinary as &dyn Fn(usize) -> f32), (20, 700, &ordinary), (13, 5, &|i| extremes[(i * 5) % 13])]
        {
            let logits: Vec<f32> = (0..batch * labels).map(logit).collect();
            agree(&config, [batch, labels], &logits, gpu);
        }
    }
}

fn ordinary(i: usize) -> f32 {
    (i as f32 * 12.9898).sin() * 6.0
}

fn agree(config: &Value, [batch, labels]: [usize; 2], logits: &[f32], gpu: &Device) {
    let what = format!("{config}, {batch} × {labels}");
    let carries = |i: usize, l: usize| i % 4 != 1 && (i * 7 + l * 13) % 11 < 2;
    let targets: Vec<f32> = (0..batch * labels).map(|c| f32::from(u8::from(carries(c / labels, c % labels)))).collect();
    let labels_seen = (0..labels).map(|l| 1 + 400 / (l + 1)).collect();
    let counts = TrainingCounts { labels: labels_seen, negatives: 300, instances: 900 };
    let config: LossConfig = serde_json::from_value(config.clone()).unwrap();
    let tensor =
        |v: &[f32], device: &Device| Tensor::<2>::from_data(TensorData::new(v.to_vec(), [batch, labels]), device);
    let flex = Device::flex();
    let z = tensor(logits, &flex.clone().autodiff()).require_grad();
    let composed = config.init(&counts, &flex).unwrap().forward(z.clone(), tensor(&targets, &flex));
    let per_instance = composed.per_instance();
    let expected = z.grad(&per_instance.clone().sum().backward()).unwrap();

    let loss = config.init(&counts, gpu).unwrap();
    let kernel = DeviceLoss::new(&*loss, labels, gpu).expect("a kernel");
    let (found, gradient) = kernel.run(tensor(logits, gpu), tensor(&targets, gpu), None, 1.0);
    hold(&format!("{what}, loss"), &values(found.per_instance()), &values(per_instance));
    hold(&format!("{what}, gradient"), &values(gradient), &values(expected));
    let names = |v: &LossValues| v.parts(Default::default()).iter().map(|p| p.0).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&composed), "{what}");
    let parts = |v: &LossValues| v.parts(Default::default()).into_iter().flat_map(|p| values(p.1)).collect();
    let (found, composed): (Vec<f32>, Vec<f32>) = (parts(&found), parts(&composed));
    hold(&format!("{what}, parts"), &found, &composed);
}

fn hold(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 1e-5 * e.abs().max(1.0), "{what}[{i}]: {f}, composed {e}");
    }
}
