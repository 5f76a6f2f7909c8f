//! llama.cpp's two steps, from a Hugging Face folder to a quantized file, beside tersor's one.

use crate::measure::{Spent, spent};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// The interpreter with llama-cpp-python, and with torch and transformers for the converter.
const PYTHON: &str = "TERSOR_PYTHON";
/// The path of convert_hf_to_gguf.py; it is in llama.cpp's repository and in the sdist of llama-cpp-python.
const CONVERTER: &str = "TERSOR_CONVERTER";

/// Both ways for each type, `runs` times in turn; the least of each.
pub fn compare(kinds: &[String], runs: usize, model: &Path, folder: &Path) {
    let (ours, theirs, middle) = (folder.join("ours.gguf"), folder.join("theirs.gguf"), folder.join("bf16.gguf"));
    println!("seconds of wall, of CPU, and peak MB");
    let python = std::env::var_os(PYTHON);
    if python.is_none() {
        println!("without llama.cpp: set {PYTHON} to an interpreter with llama-cpp-python");
    }
    let converted = python.as_ref().and_then(|python| {
        let converted = convert(python, runs, model, &middle);
        match &converted {
            Some(s) => println!("convert_hf_to_gguf.py to bf16      {s}"),
            None => println!("without convert_hf_to_gguf.py: set {CONVERTER}; it needs torch and transformers"),
        }
        converted
    });
    if python.is_some() && converted.is_none() {
        // Any converter will do for what llama-quantize is given.
        spent(tersor("bf16", model, &middle).arg("--no-verify")).expect("tersor");
    }
    for kind in kinds {
        let mut best: [Option<Spent>; 3] = [None; 3];
        for _ in 0..runs {
            let (whole, _) = spent(&mut tersor(kind, model, &ours)).expect("tersor");
            let (bare, _) = spent(tersor(kind, model, &ours).arg("--no-verify")).expect("tersor");
            let peer = python.as_ref().map(|p| quantize(p, kind, &middle, &theirs));
            for (best, found) in best.iter_mut().zip([Some(whole), Some(bare), peer]) {
                *best = best.iter().copied().chain(found).reduce(Spent::least);
            }
        }
        let [Some(whole), Some(bare), peer] = best else { continue };
        println!("{kind:8} tersor                    {whole}\n{kind:8} tersor without check      {bare}");
        let Some(peer) = peer else { continue };
        println!("{kind:8} llama-quantize            {peer}  {:5.2} x tersor's wall", peer.wall / whole.wall);
        if let Some(converted) = converted {
            let both = converted.and(peer);
            println!("{kind:8} both steps                {both}  {:5.2} x tersor's wall", both.wall / whole.wall);
        }
    }
}

fn tersor(kind: &str, model: &Path, out: &Path) -> Command {
    let _ = std::fs::remove_file(out);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tersor"));
    command.args(["quantize", "--quiet", "--json", "--type", kind, "-o"]).arg(out).arg(model);
    command
}

fn convert(python: &OsStr, runs: usize, model: &Path, out: &Path) -> Option<Spent> {
    let converter = std::env::var_os(CONVERTER)?;
    let mut best = None;
    for _ in 0..runs {
        let _ = std::fs::remove_file(out);
        let mut command = Command::new(python);
        command.arg(&converter).args(["--outtype", "bf16", "--outfile"]).arg(out).arg(model);
        let (found, _) = spent(&mut command).map_err(|e| println!("{}", e.lines().last().unwrap_or_default())).ok()?;
        best = best.into_iter().chain([found]).reduce(Spent::least);
    }
    best
}

/// llama-quantize as a function: Python's start is not counted, but for the peak of memory.
fn quantize(python: &OsStr, kind: &str, source: &Path, out: &Path) -> Spent {
    let _ = std::fs::remove_file(out);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/llama_quantize.py");
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut command = Command::new(python);
    command.arg(script).args([source, out]).arg(kind).arg(threads.to_string());
    let (whole, text) = spent(&mut command).expect("llama-quantize");
    let mut numbers = text.split_whitespace().filter_map(|n| n.parse().ok());
    let mut number = || numbers.next().expect("two numbers");
    Spent { wall: number(), cpu: number(), ..whole }
}
