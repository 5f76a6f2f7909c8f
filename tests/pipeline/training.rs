//! `tersor distill` and `tersor train` as whole commands.

use crate::support::{Ran, at, command, empty, finish, fixture, json, tersor_in};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TINY: &str = "tiny-llama";

/// A folder with a copy of the configuration and the tokenizer of tiny-llama, and none of its weights.
fn configured() -> TempDir {
    let folder = empty();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        fs::copy(format!("{}/{name}", fixture(TINY)), folder.path().join(name)).unwrap();
    }
    folder
}

fn distill_command(folder: &TempDir, more: &[&str]) -> Command {
    let (teacher, train) = (fixture(TINY), fixture("text/train.txt"));
    let args = ["distill", &teacher, "--train", &train, "-qo", "out", "--batch", "4", "--ctx", "64"];
    command(folder.path(), &[&args, more].concat())
}

fn distill(folder: &TempDir, more: &[&str]) -> Ran {
    finish(distill_command(folder, more))
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("out/model.safetensors")).unwrap()
}

/// Half of the blocks of tiny-llama, and in less than a minute less than half of the divergence.
#[test]
fn a_student_of_half_the_depth_comes_near_its_teacher() {
    let folder = empty();
    let heldout = fixture("text/heldout.txt");
    let options =
        ["--student", "depth=2", "--text", &heldout, "--steps", "130", "--every", "65", "--lr", "1e-3", "--json"];
    // Learning takes longer than a command of a test may otherwise take.
    let ran = distill_command(&folder, &options).output().unwrap();
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let kl = |when: &str| report[when]["kl"].as_f64().unwrap();
    assert!(kl("after") < 0.5 * kl("before"), "{report}");
    assert_eq!(report["tokens"], 130 * 4 * 64);
    let config: Value = serde_json::from_slice(&fs::read(at(&folder, "out/config.json")).unwrap()).unwrap();
    assert_eq!(config["num_hidden_layers"], 2);
    // It is a model like any other, and as good as the run said.
    let base = fixture(TINY);
    let eval = ["eval", "out", "--base", &base, "--text", &heldout, "--ctx", "64", "--chunks", "8", "-q", "--json"];
    let found = json(&tersor_in(&folder, &eval).exits(0))["kl"]["mean"].as_f64().unwrap();
    assert!((found / kl("after") - 1.0).abs() < 0.02, "{found} for {}", kl("after"));
    tersor_in(&folder, &["quantize", "out", "-qt", "q8_0", "-o", "out.gguf"]).exits(0);
    // The state went, the lines stayed.
    let metrics = fs::read_to_string(at(&folder, "out.training/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 130);
    assert!(!folder.path().join("out.training/state.safetensors").exists());
}

/// Killed at any time, the same command goes on and ends with the same bytes.
#[test]
fn a_killed_run_goes_on_as_if_nothing_had_been() {
    let configured = configured();
    let config = at(&configured, "config.json");
    let (train, heldout) = (fixture("text/train.txt"), fixture("text/heldout.txt"));
    let args = [
        "train",
        &config,
        "--train",
        &train,
        "--text",
        &heldout,
        "--chunks",
        "2",
        "--steps",
        "12",
        "--every",
        "3",
        "--batch",
        "4",
        "--ctx",
        "32",
        "--dropout",
        "0.1",
        "--weight-decay",
        "0.1",
        "-qo",
        "out",
    ];
    let whole = empty();
    tersor_in(&whole, &[&args[..], &["--threads", "1"]].concat()).exits(0);
    let wanted = weights(whole.path());
    let killed = empty();
    let lines = || fs::read_to_string(at(&killed, "out.training/metrics.jsonl")).unwrap_or_default().lines().count();
    for stop in [5, 8] {
        let mut run = command(killed.path(), &args).spawn().unwrap();
        let started = Instant::now();
        while lines() < stop && run.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(300), "no step in five minutes");
            std::thread::sleep(Duration::from_millis(5));
        }
        run.kill().unwrap();
        run.wait().unwrap();
    }
    // What it is to go on with is of this run alone.
    let other = [&args[..], &["--seed", "5"]].concat();
    if killed.path().join("out.training/state.safetensors").exists() {
        tersor_in(&killed, &other).fails(2, "has the state of another run");
    }
    tersor_in(&killed, &args).exits(0);
    assert!(weights(killed.path()) == wanted);
    let steps: Vec<u64> = fs::read_to_string(at(&killed, "out.training/metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (1..=12).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_learnt_is_said_before_the_first_step() {
    let folder = empty();
    fs::write(at(&folder, "empty.txt"), "").unwrap();
    fs::write(at(&folder, "lines.jsonl"), "{\"text\": \"a\"}\n{\"words\": \"b\"}\n").unwrap();
    let spm = fixture("tiny-spm");
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--student", "depth=9", "--steps", "1"], 2, "9 blocks cannot be kept of 4"),
        (&["--student", "depth=x", "--steps", "1"], 2, "write a number of blocks"),
        (&["--student", &spm, "--steps", "1"], 2, "the tokenizers differ: id 0"),
        (&["--student", "nowhere", "--steps", "1"], 1, "cannot open `nowhere`"),
        (&["--student", "depth=2"], 2, "--steps"),
        (&["--student", "depth=2", "--steps", "1", "--memory", "16"], 2, "training needs about"),
        (&["--student", "depth=2", "--steps", "1", "--temperature", "0"], 2, "a number above 0"),
    ];
    for (more, code, message) in cases {
        distill(&folder, more).fails(code, message);
    }
    let teacher = fixture(TINY);
    for (file, code, message) in [
        ("empty.txt", 2, "the training texts have 1 tokens"),
        ("lines.jsonl", 1, "line 2"),
        ("none.txt", 1, "none.txt"),
    ] {
        let args = ["distill", &teacher, "--student", "depth=2", "--train", file, "--steps", "1", "-qo", "out"];
        tersor_in(&folder, &args).fails(code, message);
    }
    assert!(!folder.path().join("out").exists());
}

/// Numbers that are none end the run, and leave the last good state.
#[test]
fn a_run_that_goes_astray_stops() {
    let folder = empty();
    let astray = ["--student", "depth=2", "--steps", "30", "--every", "1", "--lr", "1e20", "--warmup", "0"];
    let ran = distill(&folder, &astray);
    assert!(ran.code == Some(1) && ran.err.contains("the loss is"), "{ran:?}");
    assert!(!folder.path().join("out").exists());
}
