//! `tersor distill` and `tersor train` as whole commands.

use crate::support::safetensors::{Tensor, read};
use crate::support::{Ran, at, command, empty, finish, fixture, json, tersor_in};
use serde_json::{Value, json as value};
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
    tersor_in(&killed, &[&args[..], &["--resume"]].concat()).exits(0);
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
        (&["--student", "depth=x", "--steps", "1"], 2, "`depth=x` is no size"),
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

fn report(folder: &TempDir, more: &[&str]) -> Value {
    let heldout = fixture("text/heldout.txt");
    let always = ["--text", &heldout, "--chunks", "4", "--json"];
    json(&distill(folder, &[&always, more].concat()).exits(0))
}

fn metrics(folder: &TempDir) -> Vec<Value> {
    let text = fs::read_to_string(at(folder, "out.training/metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn f32s(tensor: &Tensor) -> Vec<f32> {
    match tensor.dtype.as_str() {
        "F32" => tensor.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        _ => tensor
            .bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16))
            .collect(),
    }
}

/// Adapters are merged into what is written, and written themselves; all else stays as it was.
#[test]
fn adapters_repair_a_pruned_model() {
    let folder = empty();
    let teacher = fixture(TINY);
    tersor_in(&folder, &["prune", &teacher, "--method", "depth", "--drop", "2", "-qo", "pruned"]).exits(0);
    let options = ["--student", "pruned", "--recover", "lora:4:6", "--recover-targets", "q_proj,down_proj"];
    let report = report(&folder, &[&options[..], &["--steps", "12", "--lr", "3e-3"]].concat());
    assert!(report["after"]["kl"].as_f64() < report["before"]["kl"].as_f64(), "{report}");
    let [before, after, adapter] =
        ["pruned/model.safetensors", "out/model.safetensors", "out.adapter/adapter_model.safetensors"]
            .map(|name| read(at(&folder, name)));
    let of_adapter = |name: &str| adapter.iter().find(|t| t.name == format!("base_model.model.{name}"));
    for (before, after) in before.iter().zip(&after) {
        let changes = before.shape.len() == 1 || before.name.contains("q_proj") || before.name.contains("down_proj");
        assert_eq!(before.bytes != after.bytes, changes, "{}", before.name);
        let Some(name) = before.name.strip_suffix(".weight").filter(|_| changes && before.shape.len() == 2) else {
            continue;
        };
        let [down, up] = ["A", "B"].map(|which| f32s(of_adapter(&format!("{name}.lora_{which}.weight")).unwrap()));
        let (columns, rank) = (before.shape[1] as usize, 4);
        let (before, after) = (f32s(before), f32s(after));
        for n in (0..before.len()).step_by(97) {
            let sum: f32 = (0..rank).map(|r| up[n / columns * rank + r] * down[r * columns + n % columns]).sum();
            let wanted = before[n] + 1.5 * sum;
            assert!((after[n] - wanted).abs() <= wanted.abs() / 128.0, "{name} {n}: {} for {wanted}", after[n]);
        }
    }
    let config: Value =
        serde_json::from_slice(&fs::read(at(&folder, "out.adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&value!(4), &value!(6.0)));
    assert_eq!(config["target_modules"], value!(["down_proj", "q_proj"]));
    assert!(of_adapter("model.layers.1.input_layernorm.weight").is_some());
    // A factor for each row, and nothing else of the matrix.
    let scales = ["--student", "pruned", "--recover", "scales", "--recover-targets", "up_proj", "--weights", "bf16"];
    distill(&folder, &[&scales[..], &["--steps", "3", "--lr", "1e-2", "--force"]].concat()).exits(0);
    let scaled = read(at(&folder, "out/model.safetensors"));
    for (before, after) in before.iter().zip(&scaled).filter(|(t, _)| t.shape.len() == 2) {
        assert_eq!(before.bytes != after.bytes, before.name.contains("up_proj"), "{}", before.name);
        let [old, new] = [f32s(before), f32s(after)];
        for (old, new) in old.chunks(before.shape[1] as usize).zip(new.chunks(before.shape[1] as usize)) {
            let largest = (0..old.len()).max_by(|a, b| old[*a].abs().total_cmp(&old[*b].abs())).unwrap();
            let factor = new[largest] / old[largest];
            assert!(
                old.iter().zip(new).all(|(old, new)| (old * factor - new).abs() <= old.abs() / 60.0),
                "{}",
                before.name
            );
        }
    }
    distill(
        &folder,
        &["--student", "pruned", "--recover", "lora:4", "--recover-targets", "x", "--steps", "1", "--force"],
    )
    .fails(2, "no Linear of the blocks is called `x`");
    distill(&folder, &["--student", "pruned", "--recover", "lora:0", "--steps", "1"])
        .fails(2, "a rank such as lora:16");
}

/// What is trained on a format's grid is what the file in that format is.
#[test]
fn a_student_trained_for_a_format_is_that_file() {
    let folder = empty();
    let teacher = fixture(TINY);
    let report = report(&folder, &["--student", &teacher, "--quantize", "q2_k", "--steps", "12", "--lr", "5e-5"]);
    let kl = |when: &str| report[when]["kl"].as_f64().unwrap();
    assert!(kl("after") < 0.95 * kl("before"), "{report}");
    let heldout = fixture("text/heldout.txt");
    for (model, wanted) in [("out", kl("after")), (teacher.as_str(), kl("before"))] {
        tersor_in(&folder, &["quantize", model, "-qt", "q2_k", "-o", "out.gguf", "--force"]).exits(0);
        let eval = [
            "eval", "out.gguf", "--base", &teacher, "--text", &heldout, "--ctx", "64", "--chunks", "4", "-q", "--json",
        ];
        let found = json(&tersor_in(&folder, &eval).exits(0));
        let found = found["weights_only"]["kl"]["mean"].as_f64().unwrap();
        assert!((found / wanted - 1.0).abs() < 1e-3, "{found} for {wanted}");
    }
}

/// Predictions on disk teach as the teacher does; a killed command goes on, and what they are not of is an error.
#[test]
fn predictions_are_kept_for_many_students() {
    let folder = empty();
    let teacher = fixture(TINY);
    let text = fs::read_to_string(fixture("text/train.txt")).unwrap();
    fs::write(at(&folder, "some.txt"), &text[..60_000]).unwrap();
    let logits = ["logits", &teacher, "--train", "some.txt", "--ctx", "64", "--top-k", "24", "-qo", "cache"];
    let mut run = command(folder.path(), &logits).spawn().unwrap();
    while !folder.path().join("cache/logits-00003.safetensors").exists() && run.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let student = ["--student", "depth=2", "--steps", "20", "--lr", "1e-3", "--logits", "cache"];
    let distill = |more: &[&str]| {
        let args = ["distill", &teacher, "--train", "some.txt", "-qo", "out", "--batch", "4", "--ctx", "64", "--force"];
        tersor_in(&folder, &[&args[..], more].concat())
    };
    if !folder.path().join("cache/cache.json").exists() {
        distill(&student).fails(1, "cache/cache.json");
    }
    let made = |name: &str| fs::metadata(at(&folder, name)).unwrap().modified().unwrap();
    let (first, before) = ("cache/logits-00001.safetensors", made("cache/logits-00001.safetensors"));
    tersor_in(&folder, &logits).exits(0);
    assert_eq!(made(first), before, "a whole shard was made again");
    let heldout = fixture("text/heldout.txt");
    let learnt = |options: &[&str]| {
        json(&distill(&[options, &["--text", &heldout, "--chunks", "4", "--json"]].concat()).exits(0))
    };
    let (told, taught) = (learnt(&student), learnt(&student[..6]));
    let kl = |report: &Value, when: &str| report[when]["kl"].as_f64().unwrap();
    // The texts are cut at other places, so they are not the same.
    assert!(kl(&told, "before") == kl(&taught, "before") && kl(&told, "after") < kl(&told, "before"), "{told}");
    assert!((kl(&told, "after") / kl(&taught, "after") - 1.0).abs() < 0.15, "{told} {taught}");
    let other = ["distill", &teacher, "--train", &heldout, "-qo", "out", "--ctx", "64", "--force"];
    tersor_in(&folder, &[&other[..], &student].concat()).fails(2, "other texts");
    distill(&[&student[..], &["--temperature", "2"]].concat()).fails(2, "another temperature");
    tersor_in(&folder, &["prune", &teacher, "--method", "magnitude", "--sparsity", "0.1", "-qo", "other"]).exits(0);
    let other = ["distill", "other", "--train", "some.txt", "-qo", "out", "--ctx", "64", "--force"];
    tersor_in(&folder, &[&other[..], &student].concat()).fails(2, "another teacher");
    let mut bytes = fs::read(at(&folder, first)).unwrap();
    let last = bytes.len() - 7;
    bytes[last] ^= 1;
    fs::write(at(&folder, first), bytes).unwrap();
    distill(&student).fails(1, "logits-00001.safetensors");
}

/// A run in minutes is that of as many steps as it came to.
#[test]
fn time_is_a_number_of_steps() {
    let folder = empty();
    distill(&folder, &["--student", "depth=2", "--minutes", "0.03"]).exits(0);
    let (wanted, lines) = (weights(folder.path()), metrics(&folder));
    let last = lines.last().unwrap();
    let (step, steps) = (last["step"].as_u64().unwrap(), last["steps"].as_u64().unwrap());
    assert!(step > 0 && step == lines.len() as u64 && step <= steps);
    // A machine that became slower in between leaves the last steps out.
    if step == steps {
        distill(&folder, &["--student", "depth=2", "--steps", &steps.to_string(), "--force"]).exits(0);
        assert!(weights(folder.path()) == wanted);
    }
    distill(&folder, &["--student", "depth=2", "--minutes", "0", "--force"]).fails(2, "a number above 0");
}

#[test]
fn what_a_run_gives_is_told() {
    let folder = empty();
    let options =
        ["--student", "depth=3,ffn=512", "--hidden", "cosine", "--layer-map", "0:0,2:3", "--cross-entropy", "0.2"];
    let report = report(&folder, &[&options[..], &["--steps", "4", "--every", "2"]].concat());
    let lines = metrics(&folder);
    for line in &lines {
        let part = |name: &str| line[name].as_f64().unwrap();
        let sum = 0.2 * part("cross_entropy") + 0.8 * part("divergence") + part("hidden");
        assert!((part("loss") - sum).abs() < 1e-4, "{line}");
    }
    assert_eq!(lines.iter().filter(|line| line.get("heldout").is_some()).count(), 2);
    let models = report["comparison"]["models"].as_array().unwrap();
    assert!(models.len() == 2 && models[1]["weights"].as_u64() < models[0]["weights"].as_u64());
    assert!(models.iter().all(|m| m["decode"].as_f64() > Some(0.0) && m["perplexity"].as_f64() > Some(1.0)));
    let page = fs::read_to_string(at(&folder, "out.training/report.html")).unwrap();
    assert_eq!((page.matches("<svg").count(), page.matches("<blockquote>").count()), (3, 9));
    assert!(
        !page.contains("http") || page.matches("http").count() == page.matches("http://www.w3.org/2000/svg").count()
    );
    let text = fs::read_to_string(at(&folder, "out.training/report.md")).unwrap();
    assert!(text.starts_with("# out learnt from tiny-llama\n") && text.contains("| out | "), "{text}");
    // Text alone, by either name.
    let train = fixture("text/train.txt");
    let plain = ["none", "--student", "out"];
    let common = ["--train", &train, "--steps", "2", "--ctx", "32", "-q", "-o"];
    tersor_in(&folder, &[&["distill"], &plain[..], &common, &["a"]].concat()).exits(0);
    tersor_in(&folder, &[&["train", "out"], &common[..], &["b"]].concat()).exits(0);
    let [a, b] = ["a", "b"].map(|name| fs::read(at(&folder, &format!("{name}/model.safetensors"))).unwrap());
    assert!(a == b);
    fs::write(at(&folder, "file"), "").unwrap();
    tersor_in(&folder, &[&["train", "out"], &common[..], &["file/c"]].concat()).fails(1, "file/c.training");
    tersor_in(&folder, &[&["train", "out"], &common[..], &["c", "--resume"]].concat()).fails(2, "no run was begun");
}
