//! Recipes as whole commands: what is made, kept, found again, and refused.

#![allow(clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod building;
mod refusing;
mod resuming;
mod running;
mod telling;

use serde_json::Value;
use std::fs;
use std::process::Command;
use support::{Ran, command, copy_folder, empty, finish, fixture, names};
use tempfile::TempDir;

/// Prune, learn again, quantize twice, measure.
const WHOLE: &str = r#"
source = "tiny-llama"
out_dir = "build"

[[pass]]
kind = "prune"
method = "depth"
keep = 2
calibration = "train.txt"
ctx = 64
chunks = 4

[[pass]]
kind = "distill"
train = ["train.txt"]
text = "heldout.txt"
steps = 16
every = 4
batch = 2
ctx = 64
lr = 1e-3

[[output]]
file = "small-Q8_0.gguf"
type = "q8_0"

[[output]]
file = "small-Q4_K_M.gguf"
type = "q4_k_m"
rules = ["blk.0.*=q8_0"]

[eval]
text = "heldout.txt"
ctx = 64
chunks = 2

[limits]
max_kl = 2.0
"#;

/// Nothing but outputs: fast.
const PLAIN: &str = r#"
source = "tiny-llama"
[[output]]
file = "a.gguf"
type = "q8_0"
[[output]]
file = "b.gguf"
type = "q4_0"
"#;

/// A folder with a model, texts and a recipe.
fn workshop(recipe: &str) -> TempDir {
    let folder = empty();
    copy_folder(&fixture("tiny-llama"), &folder.path().join("tiny-llama"));
    for name in ["train.txt", "heldout.txt"] {
        fs::copy(fixture(&format!("text/{name}")), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("tersor.toml"), recipe).unwrap();
    folder
}

fn run_command(folder: &TempDir, more: &[&str]) -> Command {
    let mut command = command(folder.path(), &[&["run", "-q"], more].concat());
    command.env("XDG_CACHE_HOME", folder.path().join("cache"));
    command
}

fn run(folder: &TempDir, more: &[&str]) -> Ran {
    finish(run_command(folder, more))
}

fn edit(folder: &TempDir, from: &str, to: &str) {
    let path = folder.path().join("tersor.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    fs::write(path, text.replace(from, to)).unwrap();
}

fn outputs(folder: &TempDir) -> Vec<(String, Vec<u8>)> {
    let build = folder.path().join("build");
    names(&build).into_iter().map(|name| (name.clone(), fs::read(build.join(name)).unwrap())).collect()
}

/// What was made now, of the results that a report tells of.
fn made(report: &Value) -> Vec<&str> {
    let results = report["results"].as_array().unwrap().iter();
    results.filter(|result| result["made"] == true).map(|result| result["what"].as_str().unwrap()).collect()
}

fn verify(folder: &TempDir, more: &[&str]) -> Ran {
    let mut command = command(folder.path(), &[&["verify"], more].concat());
    command.env("XDG_CACHE_HOME", folder.path().join("cache"));
    finish(command)
}
