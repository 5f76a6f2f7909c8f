//! Models that run: against transformers, in both containers, and the same bits however they are run.

#![allow(clippy::print_stdout)]

mod support;

use serde_json::Value;
use std::path::Path;
use support::{at, command, copy_folder, empty, fixture};
use tersor::eval::{Asked, Questions, Task};
use tersor::generate::{End, Request, Sampling, generate};
use tersor::model::{Model, Session, Weights};
use tersor::progress::Silent;
use tersor::source::Source;
use tersor::tokenizer::{encoder_of, metadata_of};
use tersor_kernels::Level;

fn load(path: &str, threads: usize) -> Model {
    Model::load(Source::open(Path::new(path)).unwrap(), Weights::AsStored, Level::best(), threads, &Silent).unwrap()
}

/// The logits of every position.
fn logits(model: &Model, calls: &[&[u32]]) -> Vec<f32> {
    let mut session = Session::new(model, calls.iter().map(|c| c.len()).sum()).unwrap();
    let mut all = Vec::new();
    for tokens in calls {
        let mut logits = Vec::new();
        session.forward(tokens).unwrap();
        session.logits(0..tokens.len(), &mut logits).unwrap();
        all.extend(logits);
    }
    all
}

fn reference(name: &str) -> (Vec<u32>, Value) {
    let path = fixture(&format!("logits/{name}.json"));
    let value: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    (serde_json::from_value(value["ids"].clone()).unwrap(), value)
}

fn agrees_with_transformers(name: &str, folder: &str) {
    let (ids, wanted) = reference(name);
    let model = load(folder, 2);
    let found = logits(&model, &[&ids]);
    for (position, row) in wanted["positions"].as_array().unwrap().iter().zip(wanted["rows"].as_array().unwrap()) {
        let at = position.as_u64().unwrap() as usize;
        let found = &found[at * model.vocabulary()..][..model.vocabulary()];
        let bound = 1e-3 * row["largest"].as_f64().unwrap();
        for (n, wanted) in row["first"].as_array().unwrap().iter().enumerate().take(found.len()) {
            let wanted = wanted.as_f64().unwrap();
            let off = (f64::from(found[n]) - wanted).abs();
            assert!(off <= bound, "{name}, position {at}, id {n}: {} for {wanted}", found[n]);
        }
        let sum = found.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
        assert!((sum - row["log_sum"].as_f64().unwrap()).abs() <= bound, "{name}, position {at}");
        let top = row["top"].as_u64().unwrap() as usize;
        assert!(found.iter().all(|x| *x <= found[top] + bound as f32), "{name}, position {at}");
    }
    let greedy: Vec<u32> = serde_json::from_value(wanted["greedy"].clone()).unwrap();
    let request = Request {
        prompt: &ids,
        tokens: greedy.len(),
        sampling: Sampling::GREEDY,
        last: &[],
        vocabulary: model.vocabulary(),
    };
    let mut heard = Vec::new();
    let made = generate(&model, &request, &Silent, &mut |token| {
        heard.push(token);
        true
    })
    .unwrap();
    assert_eq!((&made.tokens, &heard, made.end), (&greedy, &greedy, End::Length), "{name}");
}

#[test]
fn logits_and_greedy_tokens_are_those_of_transformers() {
    for name in ["tiny-llama", "tiny-spm", "broken/hf-valid-qwen2"] {
        agrees_with_transformers(&name.replace('/', "-"), &fixture(name));
    }
    match std::env::var_os("TERSOR_MODELS") {
        Some(models) => agrees_with_transformers("smollm2-135m", &format!("{}/smollm2-135m", models.display())),
        None => println!("skipped: SmolLM2; set TERSOR_MODELS to a folder with smollm2-135m (see tests/interop)"),
    }
}

fn tersor(args: &[&str], dir: &Path) {
    let ran = command(dir, args).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn a_gguf_runs_as_the_folder_that_it_was_made_from() {
    let dir = empty();
    for name in ["tiny-llama", "tiny-spm"] {
        let folder = fixture(name);
        let file = at(&dir, &format!("{name}.gguf"));
        tersor(&["convert", &folder, "-o", &file, "-q"], dir.path());
        let (ids, _) = reference(name);
        assert_eq!(logits(&load(&file, 1), &[&ids]), logits(&load(&folder, 1), &[&ids]), "{name}");
    }
}

#[test]
fn how_a_sequence_is_run_does_not_change_a_bit() {
    let dir = empty();
    let file = at(&dir, "model.gguf");
    tersor(&["quantize", &fixture("tiny-llama"), "-o", &file, "-q"], dir.path());
    let ids: Vec<u32> = (0..90).map(|i| i * 37 % 1024).collect();
    let wanted = logits(&load(&file, 1), &[&ids]);
    for threads in [2, 3] {
        assert_eq!(logits(&load(&file, threads), &[&ids]), wanted, "{threads} threads");
    }
    let model = load(&file, 2);
    let one_by_one: Vec<&[u32]> = ids.chunks(1).collect();
    assert_eq!(logits(&model, &one_by_one), wanted, "one by one");
    assert_eq!(logits(&model, &[&ids[..7], &ids[7..50], &ids[50..]]), wanted, "three parts");
    for level in Level::available() {
        let model = Model::load(Source::open(Path::new(&file)).unwrap(), Weights::AsStored, level, 1, &Silent).unwrap();
        assert_eq!(logits(&model, &[&ids]), wanted, "{}", level.name());
    }
}

#[test]
fn weights_with_scales_elsewhere_are_not_run_without_them() {
    let refused = |folder: &str| {
        let source = Source::open(Path::new(folder)).unwrap();
        Model::load(source, Weights::AsStored, Level::best(), 1, &Silent).err().unwrap().to_string()
    };
    let awq = refused(&fixture("broken/hf-config-quantized-awq"));
    assert!(awq.contains("quantized with `awq`"), "{awq}");
    let dir = empty();
    let folder = dir.path().join("fp8");
    copy_folder(&fixture("broken/hf-valid"), &folder);
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config["quantization_config"] = serde_json::json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    std::fs::write(&path, config.to_string()).unwrap();
    let fp8 = refused(folder.to_str().unwrap());
    assert!(fp8.contains("weights of float8 with scales are converted, but not run"), "{fp8}");
}

#[test]
fn what_a_session_cannot_take_is_an_error() {
    let model = load(&fixture("tiny-llama"), 1);
    assert!(Session::new(&model, 513).is_err(), "longer than the context");
    let mut session = Session::new(&model, 4).unwrap();
    assert!(session.forward(&[1, 2, 3, 4, 5]).is_err(), "longer than the room");
    assert!(session.forward(&[1024]).is_err(), "an id beyond the vocabulary");
    session.forward(&[1, 2, 3]).unwrap();
    assert_eq!(session.position(), 3);
    let mut logits = || {
        session.rewind(3);
        session.forward(&[9]).unwrap();
        let mut logits = Vec::new();
        session.last_logits(&mut logits).unwrap();
        logits
    };
    assert_eq!(logits(), logits());
}

#[test]
fn a_text_ends_where_it_must() {
    let model = load(&fixture("tiny-llama"), 1);
    let end = |prompt: &[u32], tokens, last: &[u32], vocabulary| {
        let request = Request { prompt, tokens, sampling: Sampling::GREEDY, last, vocabulary };
        generate(&model, &request, &Silent, &mut |_| true).map(|made| (made.tokens.len(), made.end))
    };
    let (ids, wanted) = reference("tiny-llama");
    let third = wanted["greedy"][2].as_u64().unwrap() as u32;
    assert_eq!(end(&ids, 9, &[third], 1024).unwrap(), (2, End::Stop));
    let long: Vec<u32> = (0..511).collect();
    assert_eq!(end(&long, 9, &[], 1024).unwrap(), (1, End::Context));
    assert!(end(&[&long[..], &[0]].concat(), 9, &[], 1024).is_err(), "no room for a token");
    assert!(end(&[], 9, &[], 1024).is_err(), "nothing to go on from");
    let request = Request { prompt: &ids, tokens: 50, sampling: Sampling::GREEDY, last: &[], vocabulary: 30 };
    let made = generate(&model, &request, &Silent, &mut |_| true).unwrap();
    assert!(made.tokens.iter().all(|id| *id < 30), "ids beyond the vocabulary are not chosen");
}

/// Questions that begin alike share what is computed, which must not be seen in the figures.
#[test]
fn likelihoods_are_those_of_whole_texts() {
    let dir = empty();
    let texts = [
        ("ROMEO:\nWhat", " say you"),
        ("ROMEO:\nWhat", " light"),
        ("ROMEO:\nWhat light", "?"),
        ("JULIET:\nO", " Romeo"),
    ];
    let line = |(prompt, choice): (&str, &str)| {
        format!("{}\n", serde_json::json!({"prompt": prompt, "choices": [choice], "answer": 0}))
    };
    std::fs::write(at(&dir, "lines.jsonl"), texts.map(line).concat()).unwrap();
    let folder = fixture("tiny-llama");
    let source = Source::open(Path::new(&folder)).unwrap();
    let task = Task::read("lines", dir.path()).unwrap();
    let metadata = metadata_of(&source).unwrap();
    let encode = |text: &str| encoder_of(&source, &metadata).unwrap().encode(text).unwrap();
    let model = load(&folder, 1);
    let mut sum = 0.0;
    for (prompt, choice) in texts {
        let (before, ids) = (encode(prompt), encode(&format!("{prompt}{choice}")));
        let shared = before.iter().zip(&ids).take_while(|(a, b)| a == b).count();
        let logits = logits(&model, &[&ids]);
        for (row, target) in logits.chunks_exact(model.vocabulary()).skip(shared - 1).zip(&ids[shared..]) {
            let total: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            sum -= f64::from(row[*target as usize]) - total.ln();
        }
    }
    let asked = Asked { shots: 0, limit: None };
    let found = Questions::new(&source, &task, asked).unwrap().ask(&model, &Silent).unwrap();
    let (found, wanted) = (found.perplexity.unwrap().value, (sum / texts.len() as f64).exp());
    assert!((found / wanted - 1.0).abs() < 1e-5, "{found} and {wanted}");
}
