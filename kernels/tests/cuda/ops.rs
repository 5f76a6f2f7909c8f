//! What a model computes between products.

use crate::emulator::{Argument, ORDERS};
use crate::{Noise, bytes, each, floats};
use std::f32::consts::LOG2_E;
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

#[test]
fn heads_are_turned() {
    each(|emulator, _| {
        let mut noise = Noise(2);
        for ((tokens, heads, size), order) in [(1, 9, 64), (3, 2, 10), (2, 4, 128), (1, 1, 2)].into_iter().zip(ORDERS) {
            let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| noise.number()).collect() };
            // The first token is at position 2.
            let (x, turns) = (numbers(tokens * heads * size), numbers((2 + tokens) * size));
            let mut wanted = x.clone();
            for (token, turns) in wanted.chunks_exact_mut(heads * size).zip(turns.chunks_exact(size).skip(2)) {
                let (cosines, sines) = turns.split_at(size / 2);
                for head in token.chunks_exact_mut(size) {
                    for i in 0..size / 2 {
                        let (a, b, c, s) = (head[i], head[i + size / 2], cosines[i], sines[i]);
                        (head[i], head[i + size / 2]) = (a * c - b * s, b * c + a * s);
                    }
                }
            }
            let arguments = [
                Argument::Buffer(&bytes(&x)),
                Argument::Buffer(&bytes(&turns)),
                Argument::Buffer(&2u32.to_le_bytes()),
                Argument::Value(&(heads as u32).to_le_bytes()),
                Argument::Value(&(size as u32).to_le_bytes()),
                Argument::Value(&(2 + tokens as u32).to_le_bytes()),
            ];
            assert_eq!(floats(&emulator.run("rope", [tokens, 1], order, &arguments)[0]), wanted, "{order:?}");
        }
    });
}

/// Attention of some tokens after others.
pub(crate) struct Attending {
    pub(crate) heads: usize,
    pub(crate) group: usize,
    pub(crate) size: usize,
    pub(crate) position: usize,
    pub(crate) tokens: usize,
    pub(crate) queries: Vec<f32>,
    /// Of all tokens, token by token.
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

/// Heads of keys, queries for each, size, position, tokens: every kernel of attention.
pub(crate) const ATTENDING: [[usize; 5]; 7] = [
    [1, 1, 20, 0, 6],
    [3, 3, 64, 229, 1],
    [2, 4, 128, 3, 5],
    [1, 2, 256, 8, 2],
    [1, 2, 200, 70, 1],
    [1, 2, 128, 40, 1],
    [2, 1, 66, 0, 9],
];

impl Attending {
    pub(crate) fn new([heads, group, size, position, tokens]: [usize; 5]) -> Attending {
        let mut noise = Noise(size as u64);
        let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| noise.number() * 4.0).collect() };
        let kept = (position + tokens) * heads * size;
        let queries = numbers(tokens * heads * group * size);
        Attending { heads, group, size, position, tokens, queries, keys: numbers(kept), values: numbers(kept) }
    }

    pub(crate) fn check(&self, found: &[f32]) {
        let Attending { heads, group, size, position, .. } = *self;
        let own = heads * group;
        let of = |all: &[f32], p: usize, head: usize| -> Vec<f64> {
            all[(p * heads + head) * size..][..size].iter().map(|x| f64::from(*x)).collect()
        };
        let mut wanted = Vec::new();
        for (n, query) in self.queries.chunks_exact(size).enumerate() {
            let (token, head) = (n / own, n % own / group);
            let seen = 0..position + token + 1;
            let score = |p| -> f64 {
                let products = of(&self.keys, p, head).into_iter().zip(query).map(|(k, q)| k * f64::from(*q));
                (products.sum::<f64>() / (size as f64).sqrt()).exp()
            };
            let scores: Vec<f64> = seen.clone().map(score).collect();
            let total: f64 = scores.iter().sum();
            let mut mean = vec![0.0; size];
            for (p, score) in seen.zip(&scores) {
                mean.iter_mut().zip(of(&self.values, p, head)).for_each(|(m, v)| *m += v * score / total);
            }
            wanted.extend(mean.into_iter().map(|m| m as f32));
        }
        assert_eq!(found.len(), wanted.len());
        for (n, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            assert!((found - wanted).abs() < 2e-5, "{heads} {group} {size}, {n}: {found}, wanted {wanted}");
        }
    }
}

#[test]
fn attention_is_that_of_the_definition() {
    each(|emulator, _| {
        for (numbers, order) in ATTENDING.into_iter().zip(ORDERS.into_iter().cycle()) {
            let all = Attending::new(numbers);
            let Attending { heads, group, size, position, tokens, .. } = all;
            let room = position + tokens + 3;
            let number = |n: usize| (n as u32).to_le_bytes();
            let keep = |from: &[f32]| {
                let arguments = [
                    Argument::Buffer(&bytes(from)),
                    Argument::Buffer(&vec![0xff; 4 * heads * room * size]),
                    Argument::Buffer(&number(0)),
                    Argument::Value(&number(heads)),
                    Argument::Value(&number(size)),
                    Argument::Value(&number(room)),
                ];
                emulator.run("keep", [position + tokens, 1], order, &arguments).swap_remove(1)
            };
            let (keys, values) = (keep(&all.keys), keep(&all.values));
            for parts in [1, 2, 5] {
                let together = if tokens == 1 { 1 } else { 4 };
                let queries = tokens * heads * group;
                let out = vec![0xcd; 4 * queries * if parts == 1 { size } else { parts * (size + 2) }];
                let numbers = [tokens, size, group, room, parts].map(number);
                let [tokens_, size_, group_, room_, parts_] = [0, 1, 2, 3, 4].map(|n| Argument::Value(&numbers[n]));
                let arguments = [
                    Argument::Buffer(&bytes(&all.queries)),
                    Argument::Buffer(&keys),
                    Argument::Buffer(&values),
                    Argument::Buffer(&out),
                    Argument::Buffer(&number(position)),
                    tokens_,
                    size_,
                    group_,
                    room_,
                    Argument::Value(&(LOG2_E / (size as f32).sqrt()).to_le_bytes()),
                ];
                let kernel = format!("attention_{}_{together}", if size <= 64 { 8 } else { size.div_ceil(128) * 16 });
                let grid = [heads * group, tokens.div_ceil(together), parts];
                let mut out = emulator.run(&kernel, grid, order, &arguments).swap_remove(3);
                if parts > 1 {
                    let joined = vec![0xcd; 4 * queries * size];
                    let arguments =
                        [Argument::Buffer(&out), Argument::Buffer(&joined), Argument::Value(&number(size)), parts_];
                    out = emulator.run("join_parts", [queries, 1], order, &arguments).swap_remove(1);
                }
                all.check(&floats(&out));
            }
        }
    });
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

#[test]
fn moments_are_added_up() {
    each(|emulator, _| {
        let mut noise = Noise(6);
        for ((rows, columns), order) in [(1, 1), (17, 33), (40, 70), (3, 256)].into_iter().zip(ORDERS) {
            let x: Vec<f32> = (0..rows * columns).map(|_| noise.number() * 9.0).collect();
            let before = |count: usize| -> Vec<u8> { (0..count).flat_map(|n| (n as f64).to_le_bytes()).collect() };
            let run = |kernel: &str, count: usize, grid| {
                let (x, sums) = (bytes(&x), before(count));
                let numbers = [rows, columns].map(|n| (n as u32).to_le_bytes());
                let [rows, columns] = [0, 1].map(|n| Argument::Value(&numbers[n]));
                let arguments = [Argument::Buffer(&x), Argument::Buffer(&sums), rows, columns];
                doubles(&emulator.run(kernel, grid, order, &arguments)[1])
            };
            let sums = run("add_squares", columns, [columns.div_ceil(256), 1]);
            for (n, sum) in sums.iter().enumerate() {
                let squares = x.chunks_exact(columns).map(|row| f64::from(row[n] * row[n]));
                assert_eq!(*sum, squares.fold(n as f64, |sum, x| sum + x), "{rows} x {columns}, {n}, {order:?}");
            }
            let moments = run("add_products", columns * columns, [columns.div_ceil(32), columns.div_ceil(32)]);
            for (n, moment) in moments.iter().enumerate() {
                let (a, b) = (n / columns, n % columns);
                // Above the diagonal tiles are computed, below they are copied.
                let start = if b / 32 < a / 32 { b * columns + a } else { n };
                let products = x.chunks_exact(columns).map(|row| f64::from(row[a]) * f64::from(row[b]));
                let wanted = products.fold(start as f64, |sum, x| sum + x);
                assert!((moment - wanted).abs() < 1e-3, "{rows} x {columns}, {n}: {moment}, wanted {wanted}");
            }
        }
    });
}
