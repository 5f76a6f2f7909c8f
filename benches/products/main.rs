//! Products of every format at every level of this CPU, beside the machine's limits.
//!
//! `cargo bench --bench products [-- NAME...]`. See benches/README.md.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod limits;
#[path = "../support/mod.rs"]
#[allow(dead_code)]
mod support;

use std::hint::black_box;
use support::{Random, cpu, seconds};
use tersor_kernels::matmul::{Activations, Input, Matrix, Out};
use tersor_kernels::{Effort, Encoding, FORMATS, Format, Level};

/// Rows and columns of a matrix.
const SIZE: usize = 4096;
/// Bytes of matrices that are multiplied with in turn: more than the caches hold.
const COLD: usize = 160 << 20;
/// Columns of activations.
const COLUMNS: [usize; 5] = [1, 2, 4, 8, 128];
const RUNS: usize = 15;

fn main() {
    // cargo adds `--bench`.
    let names: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |f: &&Format| names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case(f.name));
    println!("one thread, {SIZE} x {SIZE}, weights cold; {}", cpu());
    println!(
        "up to 8 columns: GB/s of weights (of reading memory); 128: GFLOP/s (of AVX2's 16-bit byte products, or f32 FMA)"
    );
    print!("format   level   ");
    COLUMNS.iter().for_each(|m| print!("{m:>14}"));
    println!();
    for format in FORMATS.iter().filter(|f| f.codec.is_some_and(|c| c.product.is_some())).filter(wanted) {
        let bench = Bench::new(format);
        for level in Level::available() {
            if level != Level::SCALAR || Level::available().len() == 1 {
                bench.line(level);
            }
        }
    }
}

struct Bench {
    matrices: Vec<Matrix>,
    x: Vec<f32>,
    /// As many bytes as the matrices have.
    bytes: Vec<u64>,
}

impl Bench {
    fn new(format: &'static Format) -> Bench {
        let mut random = Random(1);
        let values: Vec<f32> = (0..SIZE * 64).map(|_| random.gaussian() as f32).collect();
        let mut few = vec![0; format.size_of(values.len() as u64).unwrap() as usize];
        let how = Encoding { effort: Effort::Fast, ..Encoding::default() };
        format.encoder().unwrap()(Level::best(), &values, &how, &mut few).expect("values that it can hold");
        let file = few.repeat(SIZE / 64);
        let count = COLD.div_ceil(file.len());
        let matrices: Vec<Matrix> =
            (0..count).map(|_| Matrix::from_bytes(format, SIZE, SIZE, &file).expect("products")).collect();
        let x = (0..SIZE * 128).map(|_| random.gaussian() as f32).collect();
        let bytes = vec![1; matrices[0].bytes() / 8];
        Bench { matrices, x, bytes }
    }

    fn line(&self, level: Level) {
        let format = self.matrices[0].format();
        print!("{:8} {:8}", format.name, level.name());
        for columns in COLUMNS {
            let mut x = Activations::new(level);
            let mut y = vec![0.0; SIZE * columns];
            let (mut times, mut reads) = (Vec::new(), Vec::new());
            for (n, matrix) in self.matrices.iter().cycle().take(RUNS.max(self.matrices.len())).enumerate() {
                times.push(seconds(|| {
                    x.pack(matrix.input(), black_box(&self.x[..columns * SIZE]), SIZE);
                    matrix.multiply(level, 0..matrix.panels(), &x, &mut Out::new(&mut y, SIZE, columns));
                }));
                black_box(&mut y);
                if n % 4 == 0 {
                    reads.extend(self.limit(columns));
                }
            }
            let time = median(&mut times);
            if columns < 128 {
                let speed = self.matrices[0].bytes() as f64 / time / 1e9;
                print!("{speed:7.1} ({:3.0} %)", 100.0 * speed / median(&mut reads));
            } else {
                let speed = 2.0 * (SIZE * SIZE * columns) as f64 / time / 1e9;
                let limit = if reads.is_empty() { f64::NAN } else { median(&mut reads) };
                print!("{speed:7.0} ({:3.0} %)", 100.0 * speed / limit);
            }
        }
        println!();
    }

    /// What the machine does at most, now.
    fn limit(&self, columns: usize) -> Option<f64> {
        match (columns < 128, self.matrices[0].input()) {
            (true, _) => Some(limits::read(&self.bytes, COLD)),
            (false, Input::Int8) => limits::byte_products(),
            (false, Input::F32) => limits::fused(),
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
