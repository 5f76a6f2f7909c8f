//! Products and models on a GPU, beside its limits.
//!
//! `cargo bench --bench cuda [-- FORMAT...]`; `--model FILE` also runs models end to end, `--bytes N` takes matrices of another size
//! than 64 MiB. Without a GPU it says so. See benches/README.md.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

#[path = "../support/mod.rs"]
#[allow(dead_code)]
mod support;

use std::process::Command;
use std::time::Instant;
use support::Random;
use tersor_kernels::cuda::{Device, NoDevice, Scratch, Weights};
use tersor_kernels::{Effort, Encoding, Format, Level};

const FORMATS: [&str; 9] = ["q8_0", "q4_0", "q4_k", "q6_k", "iq4_xs", "mxfp4", "bf16", "f16", "f32"];
const COLUMNS: usize = 4096;
/// Bytes of a matrix, where nothing else is said, and of all that are multiplied with in turn, so that caches do not hold them.
const BYTES: usize = 64 << 20;
const COLD: usize = 8;
/// Vectors of a prompt.
const PROMPT: usize = 512;
/// Seconds of a measurement at least, and measurements.
const SECONDS: f64 = 0.05;
const RUNS: usize = 5;

fn main() {
    // cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1));
    let bytes = value("--bytes").map_or(BYTES, |text| text.parse().expect("a number of bytes"));
    let wanted = |name: &&str| {
        let mut named = FORMATS.iter().filter(|format| args.iter().any(|a| a == *format)).peekable();
        named.peek().is_none() || named.any(|other| other == name)
    };
    let device = match Device::open(0) {
        Ok(device) => device,
        Err(why) => return println!("nothing is measured: {why}"),
    };
    match table(&device, bytes, FORMATS.iter().filter(|name| wanted(name))) {
        Ok(()) => value("--model").into_iter().for_each(|model| end_to_end(model)),
        Err(why) => println!("stopped: {why}"),
    }
}

/// Products of formats with one to eight vectors and with a prompt.
fn table<'a>(device: &Device, bytes: usize, formats: impl Iterator<Item = &'a &'a str>) -> Result<(), NoDevice> {
    let (major, minor) = device.architecture();
    println!("{}, compute capability {major}.{minor}; matrices of {} MiB", device.name(), bytes >> 20);
    let (copy, peak) = (copying(device, COLD * bytes)?, tensor_cores(device)?);
    println!(
        "copying: {:.0} GB/s of reading and writing; tensor cores (mma.sync): {:.1} TFLOP/s",
        copy / 1e9,
        peak / 1e12
    );
    println!("one to eight vectors: GB/s of weights (of copying); {PROMPT}: TFLOP/s (of tensor cores)\n");
    print!("| format |");
    (1..=8).for_each(|m| print!(" {m} |"));
    println!(" {PROMPT} |\n|---|---|---|---|---|---|---|---|---|---|");
    for name in formats {
        let bench = Bench::new(device, name, bytes)?;
        print!("| {name} |");
        for vectors in 1..=8 {
            let speed = bench.matrices[0].bytes() as f64 / bench.time(vectors)?;
            print!(" {:.0} ({:.0} %) |", speed / 1e9, 100.0 * speed / copy);
        }
        let speed = 2.0 * (bench.matrices[0].rows() * COLUMNS * PROMPT) as f64 / bench.time(PROMPT)?;
        println!(" {:.1} ({:.0} %) |", speed / 1e12, 100.0 * speed / peak);
    }
    Ok(())
}

struct Bench<'d> {
    device: &'d Device,
    matrices: Vec<Weights>,
}

impl Bench<'_> {
    /// So many matrices that caches do not hold them; rows of the same few.
    fn new<'d>(device: &'d Device, name: &str, bytes: usize) -> Result<Bench<'d>, NoDevice> {
        let format = Format::by_name(name).expect("a row of the table");
        let mut random = Random(1);
        let values: Vec<f32> = (0..COLUMNS * 16).map(|_| random.gaussian() as f32).collect();
        let mut few = vec![0; format.size_of(values.len() as u64).expect("whole blocks") as usize];
        let how = Encoding { effort: Effort::Fast, ..Encoding::default() };
        format.encoder().expect("an encoder")(Level::best(), &values, &how, &mut few).expect("values that it can hold");
        let stored = few.repeat(bytes.div_ceil(few.len()));
        let matrix = |_| Ok(device.upload_weights(format, COLUMNS, &stored)?.expect("products"));
        Ok(Bench { device, matrices: (0..COLD).map(matrix).collect::<Result<_, NoDevice>>()? })
    }

    /// Seconds of one product.
    fn time(&self, vectors: usize) -> Result<f64, NoDevice> {
        let mut random = Random(2);
        let x: Vec<f32> = (0..COLUMNS * vectors).map(|_| random.gaussian() as f32).collect();
        let (x, mut y) = (self.device.upload(&x)?, self.device.room(0)?);
        let mut scratch: Scratch = self.device.scratch()?;
        let seconds = seconds(self.device, || {
            let product = |weights| self.device.multiply(&x, &mut scratch, &mut [(weights, &mut y)]);
            self.matrices.iter().try_for_each(product)
        })?;
        Ok(seconds / self.matrices.len() as f64)
    }
}

/// Bytes that are read and written in a second when memory is copied.
fn copying(device: &Device, bytes: usize) -> Result<f64, NoDevice> {
    let (from, mut to) = (device.room::<u8>(bytes)?, device.room::<u8>(bytes)?);
    Ok(2.0 * bytes as f64 / seconds(device, || device.part(&from, 0..bytes, &mut to))?)
}

/// Multiplications and additions of tensor cores in a second.
fn tensor_cores(device: &Device) -> Result<f64, NoDevice> {
    // On the stand-in a round is long enough.
    let rounds = if device.name() == "stand-in" { 1 } else { 4096 };
    let (mut out, mut operations) = (device.room(0)?, 0);
    let seconds = seconds(device, || {
        operations = device.multiply_ones(rounds, &mut out)?;
        Ok(())
    })?;
    Ok(operations as f64 / seconds)
}

/// Seconds that `work` takes on the device: the median of measurements of as many as take long enough.
fn seconds(device: &Device, mut work: impl FnMut() -> Result<(), NoDevice>) -> Result<f64, NoDevice> {
    let mut measure = |count: usize| -> Result<f64, NoDevice> {
        device.wait()?;
        let started = Instant::now();
        (0..count).try_for_each(|_| work())?;
        device.wait()?;
        Ok(started.elapsed().as_secs_f64() / count as f64)
    };
    measure(1)?;
    let count = (SECONDS / measure(1)?).ceil().max(1.0) as usize;
    let mut times = (0..RUNS).map(|_| measure(count)).collect::<Result<Vec<f64>, _>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[RUNS / 2])
}

/// What `tersor bench` says of a model.
fn end_to_end(model: &str) {
    println!();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tersor"));
    command.args(["bench", "--device", "cuda:0", "--markdown", "--quiet", model]);
    let status = command.status().expect("tersor runs");
    std::process::exit(status.code().unwrap_or(1));
}
