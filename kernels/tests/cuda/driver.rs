//! The way from Rust to a kernel and back, through a driver: a stand-in for it, since no GPU is wanted here. Tests that need one
//! of some kind run in a process of their own, with the library in its path.

use crate::emulator::{Build, built};
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
    let library = match built(Build::Driver) {
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
            let found = device.download(&device.dequantize(format, &there).unwrap()).unwrap();
            assert!(bits(&found) == bits(&wanted), "{}, {count} blocks", format.name);
        }
    }
    let mut values: Vec<f32> = (0..32 * 17).map(|_| noise.number()).collect();
    let how = Encoding { effort: Effort::Fast, ..Encoding::default() };
    let mut wanted = vec![0; 17 * 34];
    let encode = Format::by_name("q8_0").unwrap().encoder().unwrap();
    encode(Level::SCALAR, &values, &how, &mut wanted).unwrap();
    let (blocks, outcomes) = device.encode_q8_0(&device.upload(&values).unwrap()).unwrap();
    assert!(device.download(&blocks).unwrap() == wanted && outcomes == [Outcome::Encoded; 17]);
    (values[3], values[40]) = (f32::NAN, 1e30);
    let (_, outcomes) = device.encode_q8_0(&device.upload(&values).unwrap()).unwrap();
    assert_eq!(outcomes[..3], [Outcome::NonFinite, Outcome::Overflow, Outcome::Encoded]);
    assert!(device.encode_q8_0(&device.upload(&[]).unwrap()).unwrap().1.is_empty());
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
    for (n, name) in products::FORMATS.into_iter().chain(["bf16"]).enumerate() {
        // One part, and as many as a few rows on several multiprocessors ask for.
        for (rows, columns, vectors) in [(50, 512, 1 + n), (3, 64 * 40, 8), (16, 256, 0), (17, 256, 19)] {
            let problem = Problem::new(name, rows, columns, vectors);
            let weights = device.upload_weights(problem.format, columns, &problem.weights).unwrap().unwrap();
            let y = device.matmul(&weights, &device.upload(&problem.x).unwrap()).unwrap();
            problem.check(&device.download(&y).unwrap(), "on a device");
        }
    }
    let x = device.upload(&[3.0f32, 4.0, 0.0, -0.0]).unwrap();
    let y = device.rms_norm(&x, &device.upload(&[1.0f32, 2.0]).unwrap(), 0.0).unwrap();
    let y = device.download(&y).unwrap();
    assert!((y[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-6 && y[2].is_nan(), "{y:?}");
    let mut gate = device.upload(&[0.0f32, 1.0]).unwrap();
    let up = device.upload(&[5.0f32, 2.0]).unwrap();
    device.silu_times(&mut gate, &up).unwrap();
    device.add(&mut gate, &up).unwrap();
    let sum = device.download(&gate).unwrap();
    assert!(sum[0] == 5.0 && (sum[1] - 2.0 - 2.0 / (1.0 + (-1f32).exp())).abs() < 1e-6, "{sum:?}");
    for numbers in ATTENDING {
        let all = Attending::new(numbers);
        let before = all.position * all.heads * all.size;
        let mut kept = device.room_for_keys(all.heads, all.size, all.position + all.tokens).unwrap();
        // First what stands before, then the tokens.
        for (at, part) in [(0, 0..before), (all.position, before..all.keys.len())] {
            let [keys, values] = [&all.keys, &all.values].map(|of| device.upload(&of[part.clone()]).unwrap());
            device.keep(&mut kept, at, &keys, &values).unwrap();
        }
        let queries = device.upload(&all.queries).unwrap();
        let out = device.attention(&kept, all.position, &queries, all.tokens).unwrap();
        all.check(&device.download(&out).unwrap());
    }
    let mut x = device.upload(&[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    device.rope(&mut x, &device.upload(&[0.0f32, 1.0]).unwrap(), 2).unwrap();
    assert_eq!(device.download(&x).unwrap(), [-2.0, 1.0, -4.0, 3.0]);
    assert!(device.upload_weights(Format::by_name("q5_1").unwrap(), 32, &[0; 24]).unwrap().is_none());
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
        device.dequantize(Format::by_name("q8_0").unwrap(), &blocks).map(drop)
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
        }
        Err(why) => println!("skipped: no GPU: {why}"),
    }
}
