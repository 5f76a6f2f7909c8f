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
    let levels: Vec<Level> =
        Level::available().into_iter().filter(|l| *l != Level::SCALAR || Level::available().len() == 1).collect();
    for format in FORMATS.iter().filter(|f| f.codec.is_some_and(|c| c.product.is_some())).filter(wanted) {
        let bench = Bench::new(format, 0.0);
        levels.iter().for_each(|level| bench.line(*level));
    }
    if names.is_empty() || names.iter().any(|n| n == "bf16") {
        println!("bf16 times bf16:");
        let bench = Bench::bf16();
        levels.iter().for_each(|level| bench.line(*level));
    }
    if names.is_empty() || names.iter().any(|n| n == "sparse") {
        levels.iter().for_each(|level| sparse(*level));
    }
}

/// A matrix of q8_0 without its zeros, and the same one dense, in turn.
fn sparse(level: Level) {
    for zeros in [0.3, 0.5, 0.7] {
        let (dense, sparse) = (Bench::new(Format::by_name("q8_0").unwrap(), zeros), Bench::sparse(zeros));
        print!("{:3.0} % zeros, {}: times as fast as dense:", 100.0 * zeros, level.name());
        for columns in COLUMNS {
            let (mut ratios, mut x, mut y) = (Vec::new(), Activations::new(level), vec![0.0; SIZE * columns]);
            let pairs = dense.matrices.iter().cycle().zip(sparse.matrices.iter().cycle());
            for (dense_one, sparse_one) in pairs.take(RUNS.max(sparse.matrices.len())) {
                let [slow, fast] = [dense_one, sparse_one].map(|matrix| dense.time(matrix, &mut x, &mut y, columns));
                ratios.push(slow / fast);
            }
            print!(" {:.2}", median(&mut ratios));
        }
        println!("; {:.2} of the bytes", sparse.matrices[0].bytes() as f64 / dense.matrices[0].bytes() as f64);
    }
}

struct Bench {
    matrices: Vec<Matrix>,
    x: Vec<f32>,
    /// As many bytes as the matrices have.
    bytes: Vec<u64>,
}

impl Bench {
    fn new(format: &'static Format, zeros: f64) -> Bench {
        Bench::of(format, zeros, |file| Matrix::from_bytes(format, SIZE, SIZE, file))
    }

    fn sparse(zeros: f64) -> Bench {
        let format = Format::by_name("q8_0").expect("a row of the table");
        Bench::of(format, zeros, |file| {
            let panels = file.chunks(16 * SIZE / 32 * 34);
            let codes = |panel: &[u8]| panel.chunks_exact(34).flat_map(|b| b[2..].to_vec()).filter(|c| *c != 0).count();
            let matrix = Matrix::sparse(SIZE, SIZE, &panels.map(codes).collect::<Vec<_>>())?;
            Some(filled(matrix, file))
        })
    }

    /// bf16 times bf16.
    fn bf16() -> Bench {
        let format = Format::by_name("bf16").expect("a row of the table");
        Bench::of(format, 0.0, |file| Some(filled(Matrix::bf16(SIZE, SIZE), file)))
    }

    fn of(format: &'static Format, zeros: f64, matrix: impl Fn(&[u8]) -> Option<Matrix>) -> Bench {
        let mut random = Random(1);
        let mut values: Vec<f32> = (0..SIZE * 64).map(|_| random.gaussian() as f32).collect();
        values.iter_mut().filter(|_| random.uniform() < zeros).for_each(|v| *v = 0.0);
        let mut few = vec![0; format.size_of(values.len() as u64).unwrap() as usize];
        let how = Encoding { effort: Effort::Fast, ..Encoding::default() };
        format.encoder().unwrap()(Level::best(), &values, &how, &mut few).expect("values that it can hold");
        let file = few.repeat(SIZE / 64);
        let count = COLD.div_ceil(file.len());
        let matrices: Vec<Matrix> = (0..count).map(|_| matrix(&file).expect("products")).collect();
        let x = (0..SIZE * 128).map(|_| random.gaussian() as f32).collect();
        let bytes = vec![1; matrices[0].bytes() / 8];
        Bench { matrices, x, bytes }
    }

    /// Seconds of one product.
    fn time(&self, matrix: &Matrix, x: &mut Activations, y: &mut [f32], columns: usize) -> f64 {
        let time = seconds(|| {
            x.pack(matrix.input(), black_box(&self.x[..columns * SIZE]), SIZE);
            matrix.multiply(x.level(), 0..matrix.panels(), x, &mut Out::new(y, SIZE, columns));
        });
        black_box(y);
        time
    }

    fn line(&self, level: Level) {
        let format = self.matrices[0].format();
        print!("{:8} {:8}", format.name, level.name());
        for columns in COLUMNS {
            let mut x = Activations::new(level);
            let mut y = vec![0.0; SIZE * columns];
            let (mut times, mut reads) = (Vec::new(), Vec::new());
            for (n, matrix) in self.matrices.iter().cycle().take(RUNS.max(self.matrices.len())).enumerate() {
                times.push(self.time(matrix, &mut x, &mut y, columns));
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
            (false, Input::Bf16) => None,
        }
    }
}

fn filled(mut matrix: Matrix, file: &[u8]) -> Matrix {
    for mut panel in matrix.panels_mut() {
        let rows = panel.rows.start * panel.row_bytes..panel.rows.end * panel.row_bytes;
        panel.fill(&file[rows]);
    }
    matrix
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
