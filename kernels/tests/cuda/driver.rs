//! The way from Rust to a kernel and back, through a driver: a stand-in for it, since no GPU is wanted here. Tests that need one
//! of some kind run in a process of their own, with the library in its path.

use crate::building::{Build, built};
use crate::emulator::sources;
use crate::ops::{ATTENDING, Attending};
use crate::products::{self, Problem};
use crate::{Noise, bits, python};
use std::process::Command;
use tersor_kernels::cuda::{Device, NoDevice, Outcome};
use tersor_kernels::{Effort, Encoding, FORMATS, Format, Level};

/// The folder of NVRTC, among the settings.
const NVRTC: &str = "FOLDER_OF_NVRTC";

/// Run the ignored test `name` of this file against a stand-in of this kind; what it printed.
fn with_driver(name: &str, settings: &[(&str, &str)]) -> Option<String> {
    let library = match built(Build::Driver, &sources()) {
        Ok(library) => library,
        Err(why) => {
            println!("skipped: {why}");
            return None;
        }
    };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("driver::{name}"), "--ignored", "--nocapture"]);
    let nvrtc = settings.iter().find(|(name, _)| *name == NVRTC).map_or("", |(_, folder)| folder);
    let path = format!("{}:{nvrtc}", library.parent().unwrap().display());
    let ran = command.env("LD_LIBRARY_PATH", path).envs(settings.iter().copied()).output().unwrap();
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success() && out.contains("1 passed"), "{out}{}", String::from_utf8_lossy(&ran.stderr));
    Some(out)
}

#[test]
fn kernels_are_launched() {
    for capability in ["75", "80", "120"] {
        with_driver("launches", &[("STANDIN_CAPABILITY", capability)]);
    }
}

/// Where NVRTC is, kernels are compiled for the device's own architecture.
#[test]
fn kernels_are_compiled_where_nvrtc_is() {
    let Some(python) = python("NVRTC") else { return };
    let find = "import site; print(site.getsitepackages()[0] + '/nvidia/cuda_nvrtc/lib')";
    let found = Command::new(python).args(["-c", find]).output().unwrap();
    let folder = String::from_utf8(found.stdout).unwrap();
    with_driver(
        "launches",
        &[("STANDIN_CAPABILITY", "86"), ("STANDIN_TARGET", ".target sm_86"), (NVRTC, folder.trim())],
    );
}

#[test]
#[ignore = "kernels_are_launched runs it"]
fn launches() {
    let device = Device::open(0).unwrap();
    assert_eq!(device.name(), "stand-in");
    launches_on(&device);
}

/// Values of every format, and q8_0.
fn launches_on(device: &Device) {
    let mut noise = Noise(5);
    for format in FORMATS {
        let Some(decode) = format.decoder() else { continue };
        for count in [0, 1, 1024 / format.block + 3] {
            let blocks = noise.bytes(count * format.bytes);
            let mut wanted = vec![0.0; count * format.block];
            decode(Level::SCALAR, &blocks, &mut wanted);
            let there = device.upload(&blocks).unwrap();
            let mut values = device.room(0).unwrap();
            device.dequantize(format, &there, &mut values).unwrap();
            let found = device.download(&values).unwrap();
            assert!(bits(&found) == bits(&wanted), "{}, {count} blocks", format.name);
        }
    }
    for name in ["q8_0", "q4_0", "q4_k"] {
        let format = Format::by_name(name).unwrap();
        let mut values: Vec<f32> = (0..format.block * 17).map(|_| noise.number()).collect();
        let how = Encoding { effort: Effort::Fast, ..Encoding::default() };
        let mut wanted = vec![0; 17 * format.bytes];
        format.encoder().unwrap()(Level::SCALAR, &values, &how, &mut wanted).unwrap();
        let encode = |values: &[f32]| {
            let values = device.upload(values).unwrap();
            device.encode(format, Effort::Fast, &values, None).unwrap().unwrap()
        };
        let (blocks, outcomes) = encode(&values);
        assert!(device.download(&blocks).unwrap() == wanted && outcomes == [Outcome::Encoded; 17], "{name}");
        (values[3], values[format.block + 8]) = (f32::NAN, 1e30);
        assert_eq!(encode(&values).1[..3], [Outcome::NonFinite, Outcome::Overflow, Outcome::Encoded]);
        assert!(encode(&[]).1.is_empty());
    }
    let q5_0 = Format::by_name("q5_0").unwrap();
    assert!(device.encode(q5_0, Effort::Best, &device.upload(&[0.0; 32]).unwrap(), None).unwrap().is_none());
}

#[test]
fn weights_are_multiplied() {
    with_driver("multiplies", &[]);
}

#[test]
#[ignore = "weights_are_multiplied runs it"]
fn multiplies() {
    multiplies_on(&Device::open(0).unwrap());
}

/// Products, and what is computed between them.
fn multiplies_on(device: &Device) {
    let mut scratch = device.scratch().unwrap();
    let mut y = device.room(0).unwrap();
    for (n, name) in products::FORMATS.into_iter().enumerate() {
        // One part, and as many as a few rows on several multiprocessors ask for.
        for (rows, columns, vectors) in [(50, 512, 1 + n), (3, 64 * 40, 8), (16, 256, 0), (17, 256, 19)] {
            let problem = Problem::new(name, rows, columns, vectors);
            let weights = device.upload_weights(problem.format, columns, &problem.weights).unwrap().unwrap();
            let x = device.upload(&problem.x).unwrap();
            device.multiply(&x, &mut scratch, &mut [(&weights, &mut y)]).unwrap();
            problem.check(&device.download(&y).unwrap(), vectors > 16, "on a device");
        }
    }
    let operations = device.multiply_ones(2, &mut y).unwrap();
    device.wait().unwrap();
    let sums = device.download(&y).unwrap();
    assert_eq!((sums.len() as u64 * 2 * 2 * 4 * 8 * 16, sums[0]), (operations, (4 * 28 + 2 * 16 * 32) as f32));
    assert!(device.upload_weights(Format::by_name("q5_1").unwrap(), 32, &[0; 24]).unwrap().is_none());
}

#[test]
fn models_are_computed() {
    with_driver("computes", &[]);
}

#[test]
#[ignore = "models_are_computed runs it"]
fn computes() {
    computes_on(&Device::open(0).unwrap());
}

/// What is computed between products.
fn computes_on(device: &Device) {
    let mut y = device.room(0).unwrap();
    let x = device.upload(&[3.0f32, 4.0, 0.0, -0.0]).unwrap();
    device.rms_norm(&x, &device.upload(&[1.0f32, 2.0]).unwrap(), 0.0, &mut y).unwrap();
    let found = device.download(&y).unwrap();
    assert!((found[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-6 && found[2].is_nan(), "{found:?}");
    let mut gate = device.upload(&[0.0f32, 1.0]).unwrap();
    let up = device.upload(&[5.0f32, 2.0]).unwrap();
    device.silu_times(&mut gate, &up).unwrap();
    device.add(&mut gate, &up).unwrap();
    let sum = device.download(&gate).unwrap();
    assert!(sum[0] == 5.0 && (sum[1] - 2.0 - 2.0 / (1.0 + (-1f32).exp())).abs() < 1e-6, "{sum:?}");
    let mut rows = device.upload(&[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    device.add_to_rows(&mut rows, &up).unwrap();
    assert_eq!(device.download(&rows).unwrap(), [6.0, 4.0, 8.0, 6.0]);
    let mut sums = device.upload(&[1.0f64, 0.0]).unwrap();
    device.add_squares(&rows, &mut sums).unwrap();
    assert_eq!(device.download(&sums).unwrap(), [101.0, 52.0]);
    let mut moments = device.upload(&[0.0f64; 4]).unwrap();
    device.add_products(&rows, 2, &mut moments).unwrap();
    assert_eq!(device.download(&moments).unwrap(), [100.0, 72.0, 72.0, 52.0]);
    device.part(&rows, 1..3, &mut y).unwrap();
    assert_eq!(device.download(&y).unwrap(), [4.0, 8.0]);
    let mut scratch = device.scratch().unwrap();
    for numbers in ATTENDING {
        let all = Attending::new(numbers);
        let before = all.position * all.heads * all.size;
        let mut kept = device.room_for_keys(all.heads, all.size, all.position + all.tokens).unwrap();
        // First what stands before, then the tokens.
        for (at, part) in [(0, 0..before), (all.position, before..all.keys.len())] {
            let [keys, values] = [&all.keys, &all.values].map(|of| device.upload(&of[part.clone()]).unwrap());
            device.keep(&mut kept, &device.upload(&[at as u32]).unwrap(), &keys, &values).unwrap();
        }
        let queries = device.upload(&all.queries).unwrap();
        let position = device.upload(&[all.position as u32]).unwrap();
        device.attention(&kept, &position, &queries, all.tokens, &mut scratch, &mut y).unwrap();
        all.check(&device.download(&y).unwrap());
        // There is no room there: nothing is written elsewhere.
        let far = device.upload(&[1 << 20]).unwrap();
        let [keys, values] = [&all.keys, &all.values].map(|of| device.upload(of).unwrap());
        device.keep(&mut kept, &far, &keys, &values).unwrap();
        device.attention(&kept, &position, &queries, all.tokens, &mut scratch, &mut y).unwrap();
        all.check(&device.download(&y).unwrap());
    }
    let mut x = device.upload(&[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let turns = device.upload(&[f32::NAN, f32::NAN, 0.0, 1.0]).unwrap();
    for position in [1, 2] {
        // The second one has no turns.
        device.rope(&mut x, &turns, &device.upload(&[position]).unwrap(), 1, 2).unwrap();
        assert_eq!(device.download(&x).unwrap(), [-2.0, 1.0, -4.0, 3.0]);
    }
}

#[test]
fn rows_are_found() {
    with_driver("finds", &[]);
}

#[test]
#[ignore = "rows_are_found runs it"]
fn finds() {
    finds_on(&Device::open(0).unwrap());
}

/// Rows of tables in several formats, in any order, with a number that is not there.
fn finds_on(device: &Device) {
    let mut noise = Noise(8);
    let (mut picked, mut found) = (device.room(0).unwrap(), device.room(0).unwrap());
    for name in ["f32", "bf16", "q8_0", "q4_k"] {
        let format = Format::by_name(name).unwrap();
        let columns = format.block * 5;
        let values: Vec<f32> = (0..7 * columns).map(|_| noise.number()).collect();
        let mut stored = vec![0; 7 * 5 * format.bytes];
        format.encoder().unwrap()(Level::SCALAR, &values, &Encoding::default(), &mut stored).unwrap();
        let mut decoded = vec![0.0; values.len()];
        format.decoder().unwrap()(Level::SCALAR, &stored, &mut decoded);
        let table = device.upload_table(format, columns, &stored).unwrap();
        let numbers = [6u32, 0, 3, 3, 7];
        device.rows(&table, &device.upload(&numbers).unwrap(), &mut picked, &mut found).unwrap();
        let found = device.download(&found).unwrap();
        for (number, row) in numbers.iter().zip(found.chunks_exact(columns)) {
            let at = *number as usize * columns;
            let wanted = decoded.get(at..at + columns).map_or_else(|| vec![0.0; columns], <[f32]>::to_vec);
            assert_eq!(row, wanted, "{name}, {number}");
        }
    }
}

#[test]
fn launches_are_recorded() {
    with_driver("records", &[]);
}

#[test]
#[ignore = "launches_are_recorded runs it"]
fn records() {
    records_on(&Device::open(0).unwrap());
}

/// A graph computes with what its buffers have when it is launched, and is out of date once one was moved.
fn records_on(device: &Device) {
    let mut x = device.upload(&[1.0f32, 2.0]).unwrap();
    let y = device.upload(&[10.0f32, 20.0]).unwrap();
    let graph = device
        .record(|| {
            device.add(&mut x, &y)?;
            device.add(&mut x, &y)
        })
        .unwrap();
    drop(y);
    assert_eq!(device.download(&x).unwrap(), [1.0, 2.0]);
    assert!(device.replay(&graph).unwrap());
    assert_eq!(device.download(&x).unwrap(), [21.0, 42.0]);
    device.write(&[0.5, 0.5], &mut x).unwrap();
    assert!(device.replay(&graph).unwrap());
    assert_eq!(device.download(&x).unwrap(), [20.5, 40.5]);
    assert!(device.record(|| device.upload(&[0.0f32; 100]).map(drop)).is_err());
    assert!(device.replay(&graph).unwrap());
    device.write(&[0.0; 100], &mut x).unwrap();
    assert!(!device.replay(&graph).unwrap());
}

/// Whatever keeps a device from being used is told, and nothing panics.
#[test]
fn what_keeps_a_device_from_being_used_is_told() {
    for (settings, told) in [
        (&[("STANDIN_VERSION", "12020")][..], "the driver is of CUDA 12.2, kernels need 12.4 or later"),
        (&[("STANDIN_DEVICES", "0")], "there is a CUDA driver, but no device"),
        (&[("STANDIN_CAPABILITY", "61")], "stand-in has compute capability 6.1, kernels need 7.5"),
        (&[("STANDIN_MEMORY", "1000")], "1088 bytes do not fit into the device's memory, 1000 are free"),
        (&[("STANDIN_LOAD", "218")], "kernel dequantize_q8_0 cannot be loaded: a PTX JIT compilation failed"),
        (&[("ORDINAL", "3")], "there is no device 3: the last one is 0"),
    ] {
        if let Some(out) = with_driver("tells", settings) {
            assert!(out.contains(&format!("told: {told}\n")), "{settings:?}: {out}");
        }
    }
}

#[test]
#[ignore = "what_keeps_a_device_from_being_used_is_told runs it"]
fn tells() {
    let ordinal = std::env::var("ORDINAL").map_or(0, |text| text.parse().unwrap());
    let run = || -> Result<(), NoDevice> {
        let device = Device::open(ordinal)?;
        let blocks = device.upload(&[0u8; 34 * 32])?;
        device.dequantize(Format::by_name("q8_0").unwrap(), &blocks, &mut device.room(0)?)
    };
    println!("told: {}", run().unwrap_err());
}

/// The same on the GPU of this machine.
#[test]
fn a_gpu_gives_what_the_stand_in_gives() {
    match Device::open(0) {
        Ok(device) => {
            println!("on {}", device.name());
            launches_on(&device);
            multiplies_on(&device);
            computes_on(&device);
            finds_on(&device);
            records_on(&device);
        }
        Err(why) => println!("skipped: no GPU: {why}"),
    }
}
