//! Encoders that search for scales: the bytes of the CPU's.

use crate::emulator::{Argument, Emulator, ORDERS, Order};
use crate::{Noise, bytes, each};
use tersor_kernels::{BadValue, Effort, Encoding, Format, Importance, Level, NonFinite};

/// Blocks and what became of them. `effort` is the kernel's number.
fn encoded(
    emulator: &Emulator,
    format: &Format,
    values: &[f32],
    importance: Option<&[f32]>,
    effort: u32,
    order: Order,
) -> (Vec<u8>, Vec<u8>) {
    let blocks = values.len() / format.block;
    let per_block = if format.block == 32 { 256 } else { 32 };
    let (values, weights) = (bytes(values), bytes(importance.unwrap_or(&[0.0])));
    let (out, bad) = (vec![0xcd; blocks * format.bytes], vec![0xcd; blocks]);
    let [count, columns] = [blocks, importance.map_or(0, <[f32]>::len)].map(|n| (n as u64).to_le_bytes());
    let arguments = [
        Argument::Buffer(&values),
        Argument::Buffer(&weights),
        Argument::Buffer(&out),
        Argument::Buffer(&bad),
        Argument::Value(&count),
        Argument::Value(&columns),
        Argument::Value(&effort.to_le_bytes()),
    ];
    let kernel = format!("encode_{}", format.name);
    let mut answer = emulator.run(&kernel, [blocks.div_ceil(per_block), 1], order, &arguments);
    (answer.swap_remove(2), answer.pop().unwrap())
}

/// Blocks of several kinds: ordinary ones, zeros of both signs, one sign only, steps, ties, spikes, very small and large numbers.
fn values(noise: &mut Noise, blocks: usize, block: usize) -> Vec<f32> {
    let mut one = |n: usize| {
        let x = noise.number();
        match n / block % 9 {
            0 => 0.02 * x,
            1 => 0.0f32.copysign(x),
            2 => x.abs(),
            3 => -x.abs() - 0.5,
            4 => (x * 8.0).round() / 8.0,
            5 => x.signum(),
            6 if n.is_multiple_of(29) => 40.0 * x,
            6 => x * x * x,
            7 => 3e-7 * x,
            _ => 2e5 * x,
        }
    };
    (0..blocks * block).map(&mut one).collect()
}

#[test]
fn searched_blocks_have_the_bytes_of_the_cpu() {
    each(|emulator, _| {
        let mut noise = Noise(12);
        for name in ["q4_0", "q4_k"] {
            let format = Format::by_name(name).unwrap();
            for (n, order) in ORDERS.into_iter().enumerate() {
                let columns = format.block * 3;
                let values = values(&mut noise, 9 * (1 + n) / 3 * 3, format.block);
                let weights: Vec<f32> =
                    (0..columns).map(|n| if n % 7 == 0 { 0.0 } else { noise.number().abs() }).collect();
                for (effort, importance) in [
                    (Effort::Fast, None),
                    (Effort::Best, None),
                    (Effort::Fast, Some(&weights)),
                    (Effort::Best, Some(&weights)),
                ] {
                    let given = importance.map(|columns| Importance { columns, start: 0 });
                    let how = Encoding { effort, importance: given, ..Encoding::default() };
                    let mut wanted = vec![0; values.len() / format.block * format.bytes];
                    format.encoder().unwrap()(Level::SCALAR, &values, &how, &mut wanted).unwrap();
                    let plain = name == "q4_0" && effort == Effort::Fast && importance.is_none();
                    let number = if plain { 0 } else { 1 + u32::from(effort == Effort::Best) };
                    let importance = importance.map(|weights| &weights[..]);
                    let (found, bad) = encoded(emulator, format, &values, importance, number, order);
                    let first = found.chunks(format.bytes).zip(wanted.chunks(format.bytes)).position(|(a, b)| a != b);
                    assert_eq!(first, None, "{name}, {effort:?}, {}, {order:?}", importance.is_some());
                    assert!(bad.iter().all(|bad| *bad == 0));
                }
            }
        }
    });
}

#[test]
fn values_that_cannot_be_held_are_told() {
    each(|emulator, _| {
        for name in ["q4_0", "q4_k"] {
            let format = Format::by_name(name).unwrap();
            let mut values = vec![0.5f32; format.block * 5];
            let at = |block: usize| block * format.block + 9;
            (values[at(1)], values[at(2)], values[at(4)]) = (f32::NAN, f32::NEG_INFINITY, 1e30);
            for effort in 1..3 {
                let (blocks, bad) = encoded(emulator, format, &values, None, effort, Order::Forward);
                assert_eq!(bad, [0, 1, 1, 0, 2], "{name}");
                let zeros = |block: usize| blocks[block * format.bytes..][..format.bytes].iter().all(|b| *b == 0);
                assert_eq!([0, 1, 2, 3, 4].map(zeros), [false, true, true, false, true], "{name}");
            }
            for (block, bad) in [0, 1, 1, 0, 2].into_iter().enumerate() {
                let how = Encoding { non_finite: NonFinite::Refuse, ..Encoding::default() };
                let own = &values[block * format.block..][..format.block];
                let told = format.encoder().unwrap()(Level::SCALAR, own, &how, &mut vec![0; format.bytes]);
                let kind = match told {
                    Ok(_) => 0,
                    Err(BadValue::NonFinite { .. }) => 1,
                    Err(BadValue::Overflow { .. }) => 2,
                };
                assert_eq!(kind, bad, "{name}, {block}");
            }
        }
    });
}
