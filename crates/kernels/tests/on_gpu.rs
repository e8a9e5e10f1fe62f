//! The kernels against what they stand for.

#[path = "../../losses/tests/golden/adapter.rs"]
mod adapter;

use burn::tensor::{Device, Int, Tensor, TensorData};
use kernels::adam::{AdamStep, Moments, OtherRows};
use kernels::{known_gradient, targets};

const STEP: AdamStep =
    AdamStep { beta1: 0.9, beta2: 0.99, step: 0.02, root: 1.7, epsilon: 1e-8, decay: 0.03, shrink: 0.998 };

/// Values, first and second moments after an update.
fn updated([p, m, v]: [f64; 3], g: f64) -> [f64; 3] {
    let s = STEP;
    let [beta1, beta2, step, root] = [s.beta1, s.beta2, s.step, s.root].map(f64::from);
    let g = g + f64::from(s.decay) * p;
    let (m, v) = (beta1 * m + (1.0 - beta1) * g, beta2 * v + (1.0 - beta2) * g * g);
    [f64::from(s.shrink) * p - step * m / (v.sqrt() * root + f64::from(s.epsilon)), m, v]
}

fn made(count: usize, frequency: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * frequency).sin()).collect()
}

fn flat(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn hold(found: Tensor<1>, expected: impl Iterator<Item = f64>) {
    let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*f) - e).abs() < 1e-6 * e.abs().max(1.0), "{i}: {f}, in 64 bits {e}");
    }
}

#[test]
fn kernels_of_a_gpu_do_what_they_stand_for() {
    let Some(device) = adapter::gpu("the kernels are not checked") else { return };
    updates_of_adam_follow_the_formula_and_spare_what_others_hold(&device);
    targets_are_1_where_they_are_said_to_be(&device);
    autodiff_goes_on_from_a_known_gradient(&device);
}

#[test]
fn autodiff_goes_on_from_a_known_gradient_on_cpus() {
    autodiff_goes_on_from_a_known_gradient(&Device::flex());
}

fn targets_are_1_where_they_are_said_to_be(device: &Device) {
    for labels in [3, 40, 300] {
        let rows: [&[i32]; 4] = [&[0, 2], &[], &[labels as i32 - 1], &[1]];
        let starts: Vec<i32> = (0..=4).map(|i| rows[..i].iter().map(|r| r.len() as i32).sum()).collect();
        let whole = |v: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(v.clone(), [v.len()]), device);
        let found: Vec<f32> = targets(whole(starts), whole(rows.concat()), labels).into_data().try_into_vec().unwrap();
        let expected = rows.iter().flat_map(|row| (0..labels as i32).map(|l| f32::from(u8::from(row.contains(&l)))));
        assert_eq!(found, expected.collect::<Vec<f32>>());
    }
}

fn autodiff_goes_on_from_a_known_gradient(device: &Device) {
    let numbers = |t: Tensor<2>| t.into_data().try_into_vec::<f32>().unwrap();
    let matrix = |v: [f32; 4], device: &Device| Tensor::<2>::from_data(TensorData::new(v.to_vec(), [2, 2]), device);
    let x = matrix([1.0, 2.0, 3.0, 4.0], &device.clone().autodiff()).require_grad();
    let gradient = matrix([0.5, -1.0, 0.0, 2.0], device);
    let value = known_gradient(x.clone() * x.clone(), Tensor::from_floats([7.0], device), gradient);
    assert_eq!(value.clone().into_data().try_into_vec::<f32>().unwrap(), [7.0]);
    // The chain rule on both sides: 3 after it, 2x before it.
    let found = x.grad(&value.mul_scalar(3.0).backward()).unwrap();
    assert_eq!(numbers(found), [3.0, -12.0, 0.0, 48.0]);
}

fn updates_of_adam_follow_the_formula_and_spare_what_others_hold(device: &Device) {
    let (rows, width) = (37, 21);
    let count = rows * width;
    let [p, m, v] = [made(count, 0.7), made(count, 0.3), made(count, 0.11).iter().map(|x| x * x).collect()];
    let start = || {
        let values = flat(&p, device).reshape([rows, width]);
        Moments { values, first: flat(&m, device), second: flat(&v, device) }
    };
    let before = |i: usize| [p[i], m[i], v[i]].map(f64::from);

    let gradient = made(count, 1.3);
    // A second owner: its numbers must stay.
    let kept = start();
    let Moments { values, first, second } = kept.clone().update(flat(&gradient, device), STEP);
    let expected: Vec<[f64; 3]> = (0..count).map(|i| updated(before(i), f64::from(gradient[i]))).collect();
    hold(values.reshape([count]), expected.iter().map(|e| e[0]));
    hold(first, expected.iter().map(|e| e[1]));
    hold(second, expected.iter().map(|e| e[2]));
    hold(kept.values.reshape([count]), p.iter().map(|p| f64::from(*p)));
    hold(kept.first, m.iter().map(|m| f64::from(*m)));

    let named = [0u32, 3, 17, 36];
    let gradient = made(named.len() * width, 0.9);
    let of_rows = Tensor::<2>::from_data(TensorData::new(gradient.clone(), [named.len(), width]), device);
    let indices: Vec<i32> = named.iter().map(|r| *r as i32).collect();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [named.len()]), device);
    for others in [OtherRows::Stay, OtherRows::MoveOn] {
        let Moments { values, first, second } = start().update_rows(indices.clone(), of_rows.clone(), STEP, others);
        let at = |i: usize| match named.iter().position(|r| *r as usize == i / width) {
            Some(k) => updated(before(i), f64::from(gradient[k * width + i % width])),
            None if others == OtherRows::Stay => before(i),
            None => updated(before(i), 0.0),
        };
        let expected: Vec<[f64; 3]> = (0..count).map(at).collect();
        hold(values.reshape([count]), expected.iter().map(|e| e[0]));
        hold(first, expected.iter().map(|e| e[1]));
        hold(second, expected.iter().map(|e| e[2]));
    }
}
