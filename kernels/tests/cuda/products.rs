//! Products of packed weights with vectors.

use crate::emulator::{Argument, Emulator, ORDERS, Order};
use crate::{Noise, bytes, each, floats};
use half::f16;
use tersor_kernels::cuda::{Packed, pack};
use tersor_kernels::{Effort, Encoding, Format, Level};

/// Every format that is multiplied.
pub(crate) const FORMATS: [&str; 9] = ["q8_0", "q4_0", "q4_k", "q6_k", "iq4_xs", "mxfp4", "f16", "bf16", "f32"];

/// A matrix and vectors.
pub(crate) struct Problem {
    pub(crate) format: &'static Format,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) weights: Vec<u8>,
    pub(crate) x: Vec<f32>,
}

impl Problem {
    /// Vectors of very different sizes, one of them zero.
    pub(crate) fn new(name: &str, rows: usize, columns: usize, vectors: usize) -> Problem {
        let format = Format::by_name(name).unwrap();
        let mut noise = Noise(11 + rows as u64);
        let values: Vec<f32> = (0..rows * columns).map(|_| noise.number() * noise.number() * 0.1).collect();
        let mut weights = vec![0; values.len() / format.block * format.bytes];
        let how = Encoding { effort: Effort::Fast, ..Encoding::default() };
        format.encoder().unwrap()(Level::SCALAR, &values, &how, &mut weights).unwrap();
        let sizes = [1.0, 1e6, 1e-9, 0.0, 300.0, 1e-40, 7e4, 1e30];
        let x = (0..vectors * columns).map(|n| noise.number() * sizes[n / columns % sizes.len()]).collect();
        Problem { format, rows, columns, weights, x }
    }

    /// Hold products against those of decoded weights and rounded vectors, in double precision. With many vectors, weights that
    /// have scales are rounded to halves, too: the scale, the product, and the difference from a minimum.
    pub(crate) fn check(&self, y: &[f32], many: bool, what: &str) {
        let rounding = if many && self.format.block > 1 { 2f64.powi(-11) } else { 0.0 };
        let mut decoded = vec![0.0; self.rows * self.columns];
        self.format.decoder().unwrap()(Level::SCALAR, &self.weights, &mut decoded);
        assert_eq!(y.len(), self.x.len() / self.columns * self.rows);
        for (x, y) in self.x.chunks_exact(self.columns).zip(y.chunks_exact(self.rows)) {
            let x = rounded(x);
            for (row, (w, y)) in decoded.chunks_exact(self.columns).zip(y).enumerate() {
                let products = || w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x);
                let (wanted, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
                let minimum =
                    if self.format.name == "q4_k" { w.iter().fold(0.0f32, |top, w| top.max(w.abs())) } else { 0.0 };
                let rounded = size + 2.0 * f64::from(minimum) * x.iter().map(|x| x.abs()).sum::<f64>();
                let error = (f64::from(*y) - wanted).abs();
                assert!(
                    error <= 2e-6 * size + rounding * rounded + 1.5e-45 * x.len() as f64,
                    "{} {what}, row {row}: {y}, wanted {wanted}",
                    self.format.name
                );
            }
        }
    }
}

/// To halves, relative to a power of two that the largest one decides.
fn rounded(x: &[f32]) -> Vec<f64> {
    let top = x.iter().fold(0f32, |top, x| top.max(x.abs()));
    let exponent = (top.to_bits() >> 23) as i32;
    let power = if exponent == 0 { 1.0 } else { f64::from(263 - exponent.max(10) - 127).exp2() };
    x.iter().map(|x| f64::from(f16::from_f32((f64::from(*x) * power) as f32)) / power).collect()
}

fn number(n: usize) -> [u8; 4] {
    (n as u32).to_le_bytes()
}

fn room(bytes: usize) -> Vec<u8> {
    vec![0xcd; bytes]
}

/// A kernel, the rows and vectors of a block, and its threads.
type Way = (&'static str, [usize; 2], u32);

const FEW: Way = ("matmul_few", [16, 8], 256);
const MANY: Way = ("matmul_many", [128, 128], 128);

/// Products with the columns in so many parts.
fn products(emulator: &Emulator, problem: &Problem, way: Way, parts: usize, order: Order) -> Vec<f32> {
    let Problem { format, rows, columns, weights, x } = problem;
    let Packed { kernel, codes, scales, heads, powers } = pack(format, *columns, weights).unwrap();
    let (tiles, vectors) = (columns.div_ceil(64), x.len() / columns);
    let eights = vectors.div_ceil(8);
    let packed = emulator.run(
        "pack_activations",
        [8 * eights, 1],
        order,
        &[
            Argument::Buffer(&bytes(x)),
            Argument::Buffer(&room(eights * tiles * 1024)),
            Argument::Buffer(&room(eights * 32)),
            Argument::Buffer(&room(eights * tiles * 64)),
            Argument::Value(&number(*columns)),
            Argument::Value(&number(tiles)),
            Argument::Value(&number(vectors)),
        ],
    );
    let count = vectors * rows;
    let y = room(4 * count * parts);
    let powers = bytes(&powers);
    let buffers = [&codes, &scales, &heads, &powers].into_iter().chain(&packed[1..4]).chain([&y]);
    let numbers = [*rows, tiles, vectors].map(number);
    let arguments: Vec<Argument<'_>> = buffers
        .map(|bytes| Argument::Buffer(bytes))
        .chain(numbers.iter().map(|number| Argument::Value(number)))
        .collect();
    let (source, mut block, threads) = way;
    if way == MANY && kernel == "f32" {
        block[1] = 64;
    }
    let grid = [rows.div_ceil(block[0]), vectors.div_ceil(block[1]), parts];
    let y = emulator.run_blocks(&format!("{source}_{kernel}"), grid, threads, order, &arguments).pop().unwrap();
    let summed = emulator.run(
        "sum_parts",
        [count.div_ceil(256), 1],
        order,
        &[
            Argument::Buffer(&y),
            Argument::Buffer(&room(4 * count)),
            Argument::Value(&(count as u64).to_le_bytes()),
            Argument::Value(&number(parts)),
        ],
    );
    floats(&summed[1])
}

/// So many blocks; of floats any number of columns, also odd ones.
fn columns_of(block: usize, count: usize) -> usize {
    if block == 1 { 53 * count } else { block * count }
}

/// Every format, one to nine vectors, rows and columns that fill no tile, one part and several.
#[test]
fn products_are_those_of_decoded_weights() {
    each(|emulator, _| {
        for name in FORMATS {
            let block = Format::by_name(name).unwrap().block;
            for vectors in 1..=9 {
                let order = ORDERS[vectors % ORDERS.len()];
                let (rows, columns) = ([1, 16, 37, 5][vectors % 4], columns_of(block, [1, 3, 2, 5][vectors / 2 % 4]));
                let problem = Problem::new(name, rows, columns, vectors);
                let what = format!("{rows} x {columns} x {vectors}, {order:?}");
                problem.check(&products(emulator, &problem, FEW, 1 + vectors % 3, order), false, &what);
            }
        }
    });
}

/// Fewer vectors than a block takes, more, and rows of more than one block.
#[test]
fn products_of_many_vectors_are_those_of_decoded_weights() {
    each(|emulator, _| {
        for (n, name) in FORMATS.into_iter().enumerate() {
            let block = Format::by_name(name).unwrap().block;
            for (vectors, rows) in [(9, 5), (if n % 2 == 0 { 65 } else { 129 } + n, 20), (17, 131)] {
                let order = ORDERS[(n + vectors) % ORDERS.len()];
                let columns = columns_of(block, [1, 3, 2][vectors % 3]);
                let problem = Problem::new(name, rows, columns, vectors);
                let found = products(emulator, &problem, MANY, 1 + vectors % 3, order);
                problem.check(&found, true, &format!("{rows} x {columns} x {vectors}, {order:?}"));
            }
        }
    });
}

/// More tiles than warps have under way at once; the order of threads changes no bit.
#[test]
fn long_rows_are_summed_in_one_order() {
    each(|emulator, _| {
        for name in FORMATS {
            let problem = Problem::new(name, 3, 256 * 9, 2);
            for way in [FEW, MANY] {
                let of = |order| products(emulator, &problem, way, 2, order);
                let first = of(Order::Forward);
                problem.check(&first, way == MANY, "long");
                assert!(of(Order::Random(3)) == first && of(Order::Reverse) == first, "{name}");
            }
        }
    });
}

/// What the peak is measured with multiplies as often as it says.
#[test]
fn ones_are_multiplied() {
    each(|emulator, _| {
        let arguments = [Argument::Buffer(&room(4 * 512)), Argument::Value(&number(3))];
        let out = floats(&emulator.run("multiply_ones", [2, 1], Order::Reverse, &arguments)[0]);
        assert_eq!(out, [(4 * 28 + 3 * 16 * 32) as f32; 512]);
    });
}

/// What is not packed is said to be so, and packing takes no more room than the tiles need.
#[test]
fn packed_weights_are_as_small_as_their_format() {
    for name in FORMATS {
        let problem = Problem::new(name, 32, 512, 1);
        let packed = pack(problem.format, 512, &problem.weights).unwrap();
        let bytes = packed.codes.len() + packed.scales.len() + packed.heads.len() + 4 * packed.powers.len();
        let share = bytes as f64 / problem.weights.len() as f64;
        assert!((0.94..=1.05).contains(&share), "{name}: {share}");
    }
    assert_eq!(pack(Format::by_name("q5_1").unwrap(), 32, &[0; 24]), None);
}
