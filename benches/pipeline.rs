//! The whole `quantize` command against what the machine must do in any case: read the input, write as many bytes as
//! the output has, and fsync them. Page cache warm, both in turn, medians.
//!
//! `TERSOR_MODELS=DIR cargo bench --bench pipeline [-- RUNS]`; without the variable it runs on fixtures/tiny-llama.
#![allow(missing_docs, clippy::print_stdout)]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Bytes per read and write of the roof.
const PIECE: usize = 1 << 20;

fn main() {
    let runs = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(7);
    let model = match std::env::var_os("TERSOR_MODELS") {
        Some(models) => PathBuf::from(models).join("smollm2-135m"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama"),
    };
    let folder = std::env::temp_dir().join(format!("tersor-pipeline-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    println!("{} runs of each, in turn; model {}", runs, model.display());
    println!("type   roof s  quantize s  ratio  without check s  ratio  CPU s  peak MB  output MB");
    for kind in ["q8_0", "q4_0", "bf16"] {
        row(kind, runs, &model, &folder);
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

/// User and system seconds of all finished children, where /proc tells.
fn children_cpu() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / TICKS_PER_SECOND
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
