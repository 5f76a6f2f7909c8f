//! The whole `quantize` command against what the machine must do in any case: read the input, write as many bytes as
//! the output has, and fsync them. Page cache warm, both in turn, medians.
//!
//! `TERSOR_MODELS=DIR cargo bench --bench pipeline [-- RUNS]`; without the variable it runs on fixtures/tiny-llama.
//! `--model DIR`, `--types A,B` and `--into FOLDER` (for the outputs) choose others; `--peer` compares with llama.cpp's
//! two steps instead; `--make DIR` writes a checkpoint of 1.78 G random weights for that. See benches/README.md.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod measure;
mod peer;
#[path = "../support/mod.rs"]
#[allow(dead_code)]
mod support;
mod synthetic;

use measure::children_cpu;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Bytes per read and write of the roof.
const PIECE: usize = 1 << 20;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1));
    let standard = match std::env::var_os("TERSOR_MODELS") {
        Some(models) => PathBuf::from(models).join("smollm2-135m"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama"),
    };
    if let Some(dir) = value("--make") {
        synthetic::make(Path::new(dir), &standard).expect("room for 3.6 GB");
        return;
    }
    let runs = args.iter().find_map(|a| a.parse().ok()).unwrap_or(7);
    let model = value("--model").map_or(standard, PathBuf::from);
    let into = value("--into").map_or_else(std::env::temp_dir, PathBuf::from);
    let kinds = value("--types").map_or("q8_0,q4_0,bf16", String::as_str);
    let kinds: Vec<String> = kinds.split(',').map(str::to_owned).collect();
    let folder = into.join(format!("tersor-pipeline-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    println!("{} runs of each, in turn; model {}", runs, model.display());
    if args.iter().any(|a| a == "--peer") {
        peer::compare(&kinds, runs, &model, &folder);
    } else {
        println!("type   roof s  quantize s  ratio  without check s  ratio  CPU s  peak MB  output MB");
        for kind in &kinds {
            row(kind, runs, &model, &folder);
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
}

fn row(kind: &str, runs: usize, model: &Path, folder: &Path) {
    let out = folder.join("out.gguf");
    let (_, first) = quantize(kind, model, &out, &[]);
    let bytes = std::fs::metadata(&out).expect("the output").len();
    let (mut roofs, mut whole, mut bare, mut cpu) = (vec![], vec![], vec![], vec![]);
    let mut peak = first;
    for _ in 0..runs {
        roofs.push(roof(model, &folder.join("roof"), bytes));
        let before = children_cpu();
        let (seconds, memory) = quantize(kind, model, &out, &[]);
        cpu.push(children_cpu() - before);
        whole.push(seconds);
        bare.push(quantize(kind, model, &out, &["--no-verify"]).0);
        peak = peak.max(memory);
    }
    let (roof, whole, bare, cpu) = (median(roofs), median(whole), median(bare), median(cpu));
    println!(
        "{kind:6} {roof:6.3}  {whole:10.3}  {:5.2}  {bare:15.3}  {:5.2}  {cpu:5.2}  {:7.1}  {:9.1}",
        whole / roof,
        bare / roof,
        peak as f64 / 1e6,
        bytes as f64 / 1e6
    );
}

/// Seconds of the command as a process, and its peak memory in bytes.
fn quantize(kind: &str, model: &Path, out: &Path, more: &[&str]) -> (f64, u64) {
    // A new file each time, for both: freeing the old one's pages is no part of making one.
    let _ = std::fs::remove_file(out);
    let started = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tersor"));
    command.args(["quantize", "--quiet", "--json", "--type", kind, "-o"]).arg(out).args(more).arg(model);
    let done = command.output().expect("tersor runs");
    let seconds = started.elapsed().as_secs_f64();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).expect("a JSON report");
    (seconds, report["peak_memory"].as_u64().unwrap_or(0))
}

/// Seconds to read all safetensors files and to write and fsync `bytes` bytes, one after the other.
fn roof(model: &Path, out: &Path, bytes: u64) -> f64 {
    let _ = std::fs::remove_file(out);
    let started = Instant::now();
    let mut buffer = vec![0x5a; PIECE];
    for entry in std::fs::read_dir(model).expect("the model") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            let mut file = File::open(path).expect("a shard");
            while file.read(&mut buffer).expect("readable") > 0 {}
        }
    }
    let mut file = File::create(out).expect("a file");
    let mut left = bytes as usize;
    while left > 0 {
        let n = left.min(PIECE);
        file.write_all(&buffer[..n]).expect("room");
        left -= n;
    }
    file.sync_all().expect("a disk");
    started.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
