//! A sound Hugging Face folder in which one file is replaced: the first byte says which, the rest is its content.
#![no_main]

mod workshop;

use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::Path;
use workshop::{folder, quantize};

const FILES: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "tokenizer.model",
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, content)) = data.split_first() else { return };
    let sound = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/broken/hf-valid"));
    let dir = folder();
    let model = dir.join("model");
    let _ = fs::remove_dir_all(&model);
    fs::create_dir(&model).expect("a folder in memory");
    let file = FILES[usize::from(*choice) % FILES.len()];
    // tokenizer.model is read where there is no tokenizer.json, an index where there is no model.safetensors.
    let hidden = match file {
        "tokenizer.model" => "tokenizer.json",
        "model.safetensors.index.json" => "model.safetensors",
        _ => file,
    };
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        if name != hidden {
            fs::copy(sound.join(name), model.join(name)).expect("a copy in memory");
        }
    }
    if file == "model.safetensors.index.json" {
        fs::copy(sound.join("model.safetensors"), model.join("model-00001-of-00001.safetensors")).expect("a copy");
    }
    fs::write(model.join(file), content).expect("a file in memory");
    // A tokenizer that nobody can carry over is an error as well.
    let _ = quantize(&model, dir);
});
