//! What a model computes between products.

use crate::emulator::{Argument, ORDERS};
use crate::{Noise, bytes, each, floats};
use tersor_kernels::{Level, ops};

fn near(found: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(found.len(), wanted.len());
    for (n, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((found - wanted).abs() <= 1e-6 + 2e-6 * wanted.abs(), "{what}, {n}: {found}, wanted {wanted}");
    }
}

#[test]
fn rows_are_normalised() {
    each(|emulator, _| {
        let mut noise = Noise(9);
        for (length, order) in [1, 255, 576, 1000].into_iter().zip(ORDERS) {
            let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| noise.number() * 3.0).collect() };
            let (x, weight) = (numbers(3 * length), numbers(length));
            let mut wanted = vec![0.0; x.len()];
            for (x, y) in x.chunks_exact(length).zip(wanted.chunks_exact_mut(length)) {
                ops::rms_norm(Level::SCALAR, x, &weight, 1e-5, y);
            }
            let arguments = [
                Argument::Buffer(&bytes(&x)),
                Argument::Buffer(&bytes(&weight)),
                Argument::Buffer(&vec![0xcd; 4 * x.len()]),
                Argument::Value(&(length as u32).to_le_bytes()),
                Argument::Value(&1e-5f32.to_le_bytes()),
            ];
            let y = emulator.run("rms_norm", [3, 1], order, &arguments).pop().unwrap();
            near(&floats(&y), &wanted, &format!("{length}, {order:?}"));
        }
    });
}

#[test]
fn gates_and_sums_are_those_of_the_cpu() {
    each(|emulator, _| {
        let mut noise = Noise(4);
        for (count, order) in [1usize, 256, 257, 999].into_iter().zip(ORDERS) {
            let mut numbers = |size: f32| -> Vec<f32> { (0..count).map(|_| noise.number() * size).collect() };
            let (x, y) = (numbers(100.0), numbers(2.0));
            let number = (count as u64).to_le_bytes();
            let run = |kernel: &str| {
                let (x, y) = (bytes(&x), bytes(&y));
                let arguments = [Argument::Buffer(&x), Argument::Buffer(&y), Argument::Value(&number)];
                floats(&emulator.run(kernel, [count.div_ceil(256), 1], order, &arguments)[0])
            };
            let mut gate = x.clone();
            ops::silu_times(Level::SCALAR, &mut gate, &y);
            near(&run("silu_times"), &gate, "silu_times");
            let sum: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
            assert_eq!(run("add"), sum);
        }
    });
}
