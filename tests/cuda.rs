//! Models on a GPU: on a stand-in for one, which runs the kernels on the CPU, and on the GPU of this machine where there is one.
#![cfg(feature = "cuda")]
#![allow(clippy::print_stdout)]

#[path = "../kernels/tests/cuda/building.rs"]
#[allow(dead_code)]
mod building;
mod support;

use building::{Build, built};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Ran, at, command, empty, fixture, tersor};
use tersor::calib::Statistics;
use tersor::model::{Choice, Model, Room, Session, Weights};
use tersor::progress::Silent;
use tersor::source::Source;
use tersor_kernels::Level;

const TINY: &str = "tiny-llama";

/// The folder of the stand-in, or nothing where it cannot be built, which is said.
fn stand_in() -> Option<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/cuda");
    match built(Build::Driver, &sources) {
        Ok(library) => library.parent().map(Path::to_owned),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

/// `tersor args` with a stand-in of this kind.
fn with_stand_in(args: &[&str], settings: &[(&str, &str)]) -> Option<Ran> {
    let library = stand_in()?;
    let folder = empty();
    let mut command = command(folder.path(), args);
    command.env("LD_LIBRARY_PATH", library).env("TERSOR_DEVICE", "auto").envs(settings.iter().copied());
    // A token takes a second or, on a busy machine, many: there is no bound on that.
    let done = command.output().unwrap();
    let [out, err] = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Some(Ran { code: done.status.code(), out, err })
}

fn generate<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["generate", model, "--prompt", "The king", "--tokens", "5", "--temperature", "0"];
    args.into_iter().chain(more.iter().copied()).collect()
}

/// Greedy decoding on the device writes the CPU's tokens, one graph for each after the first two.
#[test]
fn decoding_gives_the_tokens_of_the_cpu() {
    let folder = empty();
    let quantized = at(&folder, "tiny.gguf");
    assert_eq!(tersor(&["quantize", &fixture(TINY), "--type", "q4_k_m", "-o", &quantized, "--quiet"]).code, Some(0));
    for model in [&fixture(TINY), &quantized] {
        let wanted = tersor(&generate(model, &[]));
        for (capture, counted) in [("1", "3 graphs"), ("0", "0 graphs")] {
            let settings = [("STANDIN_COUNT", "1"), ("STANDIN_CAPTURE", capture)];
            let Some(found) = with_stand_in(&generate(model, &["--device", "cuda:0"]), &settings) else { return };
            assert_eq!((found.code, &found.out), (Some(0), &wanted.out), "{}", found.err);
            assert!(found.err.contains("; computed on stand-in\n") && found.err.contains(counted), "{}", found.err);
        }
    }
}

/// Whatever keeps a GPU from being used sends `auto` to the CPU with the reason, and is an error for who asked for it.
#[test]
fn the_cpu_takes_over_with_a_reason() {
    let model = fixture(TINY);
    let wanted = tersor(&generate(&model, &[])).out;
    for (settings, reason) in [
        (("STANDIN_VERSION", "12020"), "the driver is of CUDA 12.2, kernels need 12.4 or later"),
        (("STANDIN_DEVICES", "0"), "there is a CUDA driver, but no device"),
        (("STANDIN_CAPABILITY", "61"), "stand-in has compute capability 6.1, kernels need 7.5"),
        (("STANDIN_MEMORY", "3000000"), "do not fit into the device's memory"),
        (("STANDIN_LOAD", "218"), "cannot be loaded: a PTX JIT compilation failed"),
    ] {
        let Some(auto) = with_stand_in(&generate(&model, &["--json", "--quiet"]), &[settings]) else { return };
        assert_eq!(auto.code, Some(0), "{settings:?}: {}", auto.err);
        let report: serde_json::Value = serde_json::from_str(&auto.out).unwrap();
        assert_eq!(report["text"].as_str().unwrap(), wanted.trim_end_matches('\n'), "{settings:?}");
        assert_eq!(report["computed"]["device"], "cpu");
        assert!(report["computed"]["reason"].as_str().unwrap().contains(reason), "{settings:?}: {report}");
        let named = with_stand_in(&generate(&model, &["--device", "cuda:0"]), &[settings]).unwrap();
        assert_eq!(named.code, Some(1));
        assert!(named.err.contains("the GPU cannot be used: ") && named.err.contains(reason), "{}", named.err);
    }
    let none = tersor(&generate(&model, &["--device", "cuda:7"]));
    assert_eq!(none.code, Some(1));
    let wrong = tersor(&generate(&model, &["--device", "gpu"]));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("`auto`, `cpu` or `cuda:N` is wanted"), "{}", wrong.err);
}

/// The length of the difference as a share of that of what is wanted.
fn difference(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let error = square(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
    (error / square(&mut wanted.iter().copied())).sqrt()
}

/// Logits of `tokens` of tiny-llama in each of `types`, all at once and one by one, on the GPU and on the CPU.
fn logits_agree(types: &[&str], tokens: usize) {
    let folder = empty();
    for kind in types {
        let path = at(&folder, &format!("{kind}.gguf"));
        let made = tersor(&["quantize", &fixture(TINY), "--type", kind, "--pure", "-o", &path, "--quiet"]);
        assert_eq!(made.code, Some(0), "{}", made.err);
        let load = |choice, weights| {
            let source = Source::open(Path::new(&path)).unwrap();
            Model::load_on((choice, Room::for_all(tokens)), source, weights, Level::best(), 2, &Silent).unwrap()
        };
        let gpu = load(Choice::Cuda(0), Weights::AsStored);
        // The CPU rounds activations to eight bits where the GPU has eleven: its floats are the measure.
        let cpu = load(Choice::Cpu, Weights::Decoded);
        let ids: Vec<u32> = (0..tokens as u32).map(|n| n * 37 % 1000).collect();
        let of = |model: &Model, calls: &[&[u32]]| {
            let mut session = Session::new(model, tokens).unwrap();
            let (mut all, mut logits) = (Vec::new(), Vec::new());
            for call in calls {
                session.forward(call).unwrap();
                session.logits(0..call.len(), &mut logits).unwrap();
                all.extend_from_slice(&logits);
            }
            all
        };
        let wanted = of(&cpu, &[&ids]);
        let ones: Vec<&[u32]> = ids.chunks(1).collect();
        for (calls, how) in [(&[&ids[..]][..], "at once"), (&ones, "one by one")] {
            let found = of(&gpu, calls);
            let share = difference(&found, &wanted);
            assert!(share < 2e-3, "{kind}, {how}: logits differ by {share:.1e} of their size");
            println!("{kind}, {how}: {share:.1e}");
        }
    }
}

const ALL: &[&str] = &["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k", "iq4_xs", "mxfp4", "q5_k"];

#[test]
fn logits_are_those_of_the_cpu() {
    let Some(library) = stand_in() else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "logits_on_a_stand_in", "--ignored", "--nocapture"]);
    let ran = command.env("LD_LIBRARY_PATH", library).output().unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && out.contains("1 passed"), "{out}{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
#[ignore = "logits_are_those_of_the_cpu runs it"]
fn logits_on_a_stand_in() {
    logits_agree(&["bf16", "q4_k", "q5_k"], 3);
}

#[test]
fn logits_on_a_gpu() {
    match tersor_kernels::cuda::Device::open(0) {
        Ok(device) => {
            println!("on {}", device.name());
            logits_agree(ALL, 100);
        }
        Err(why) => println!("skipped: no GPU: {why}"),
    }
}

/// Statistics of a model on the GPU are those of the CPU, but for activations of half precision.
#[test]
fn calibration_sees_what_the_cpu_sees() {
    let folder = empty();
    let text = at(&folder, "text");
    std::fs::write(&text, "The king said that the sword was lost, and the queen did not answer him.").unwrap();
    let run = |name: &str| {
        let out = at(&folder, name);
        let args = ["calibrate", &fixture(TINY), "--calibration", &text, "--ctx", "4", "--chunks", "2", "-o", &out];
        (args.map(str::to_owned).to_vec(), out)
    };
    let (args, here) = run("here.gguf");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert_eq!(tersor(&args).code, Some(0));
    let (args, there) = run("there.gguf");
    let args: Vec<&str> = args.iter().map(String::as_str).chain(["--device", "cuda:0"]).collect();
    let Some(ran) = with_stand_in(&args, &[]) else { return };
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("computed on stand-in"), "{}", ran.err);
    let [here, there] = [here, there].map(|path| Statistics::read(Path::new(&path)).unwrap());
    assert_eq!(here.entries.len(), there.entries.len());
    for ((name, here), (other, there)) in here.entries.iter().zip(&there.entries) {
        assert_eq!((name, &here.counts), (other, &there.counts));
        let share = difference(&there.squares, &here.squares);
        assert!(share < 1e-3, "{name}: squares differ by {share:.1e} of their size");
    }
}
