//! Bytes depend on the model and the recipe, on nothing else.

use crate::support::gguf::Gguf;
use crate::support::{at, command, empty, finish, fixture, names, safetensors, tersor_in};
use std::fs;
use std::path::Path;
use tersor_kernels::Level;

#[test]
#[allow(clippy::print_stdout)] // What was skipped, and why.
fn threads_instruction_sets_and_repetition_do_not_change_a_byte() {
    let available: Vec<&str> = Level::available().into_iter().map(Level::name).collect();
    for (model, kind) in [("tiny-llama", "q4_0"), ("tiny-llama", "q8_0"), ("tiny-spm", "q5_1"), ("tiny-spm", "bf16")] {
        let folder = empty();
        let run = |level: &str, threads: &str| {
            let args = ["quantize", &fixture(model), "-qt", kind, "-o", "out.gguf", "--force", "--threads", threads];
            let mut command = command(folder.path(), &args);
            command.env("TERSOR_LEVEL", level);
            finish(command).exits(0);
            fs::read(folder.path().join("out.gguf")).unwrap()
        };
        let first = run("scalar", "1");
        for (level, threads) in [("scalar", "1"), ("scalar", "3"), ("avx2", "2"), ("avx512", "1"), ("avx512", "7")] {
            if available.contains(&level) {
                assert!(run(level, threads) == first, "{model} {kind} at {level} on {threads} threads");
            } else {
                println!("skipped: this CPU has no {level}");
            }
        }
    }
}

#[test]
fn an_instruction_set_that_the_cpu_lacks_is_an_error() {
    let folder = empty();
    let with_level = |level| {
        let mut command = command(folder.path(), &["quantize", &fixture("tiny-spm"), "-q"]);
        command.env("TERSOR_LEVEL", level);
        finish(command)
    };
    with_level("avx9000")
        .fails(2, "TERSOR_LEVEL is `avx9000`, which this CPU does not have\nhint: this CPU has scalar");
    with_level("").exits(0);
}

#[test]
fn a_small_memory_bound_does_not_change_a_byte() {
    let folder = empty();
    let model = fixture("tiny-llama");
    tersor_in(&folder, &["quantize", &model, "-q", "-o", "a.gguf"]).exits(0);
    tersor_in(&folder, &["quantize", &model, "-q", "-o", "b.gguf", "--memory", "8", "--threads", "64"]).exits(0);
    assert!(fs::read(at(&folder, "a.gguf")).unwrap() == fs::read(at(&folder, "b.gguf")).unwrap());
}

/// The hash by its definition: over names and hashes of the tensors in order of their names, then of the files.
fn source_hash(tensors: Vec<(String, Vec<u8>)>, files: Vec<(String, Vec<u8>)>) -> String {
    let mut all = blake3::Hasher::new();
    for mut group in [tensors, files] {
        group.sort();
        for (name, bytes) in group {
            all.update(name.as_bytes()).update(&[0]).update(blake3::hash(&bytes).as_bytes());
        }
    }
    all.finalize().to_hex().to_string()
}

#[test]
fn provenance_says_what_was_read_and_how() {
    let cases = [
        ("tiny-llama", &["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"][..]),
        (
            "tiny-spm",
            &[
                "config.json",
                "generation_config.json",
                "special_tokens_map.json",
                "tokenizer.json",
                "tokenizer_config.json",
            ],
        ),
    ];
    for (model, files) in cases {
        let folder = empty();
        let args = ["quantize", &fixture(model), "-qt", "Q4_0", "--pure", "--rule", "*attn_v*=q8_0", "-o", "out.gguf"];
        tersor_in(&folder, &args).exits(0);
        let metadata = Gguf::read(at(&folder, "out.gguf")).metadata;
        assert_eq!(metadata.text("tersor.version"), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(metadata.text("tersor.recipe"), Some("type=q4_0 pure rule:*attn_v*=q8_0"));
        let model = fixture(model);
        let tensors = safetensors::read(format!("{model}/model.safetensors"));
        let tensors = tensors.into_iter().map(|t| (t.name, t.bytes)).collect();
        let read = |name: &&str| ((*name).to_owned(), fs::read(Path::new(&model).join(name)).unwrap());
        let mut files: Vec<&str> = files.to_vec();
        files.extend(names(Path::new(&model)).iter().any(|n| n == "tokenizer.model").then_some("tokenizer.model"));
        let wanted = source_hash(tensors, files.iter().map(read).collect());
        assert_eq!(metadata.text("tersor.source_blake3"), Some(&wanted[..]), "{model}");
    }
}

#[test]
fn the_recipe_names_no_defaults() {
    let folder = empty();
    for (args, recipe) in [
        (&["quantize", "-t", "q8_0"][..], "type=q8_0"),
        (&["quantize", "-t", "q4_0", "--strict", "--fallback", "llama"], "type=q4_0 strict"),
        (&["quantize", "--output-tensor-type", "f16", "--fallback", "bf16"], "type=q4_k_m output=f16 fallback=bf16"),
        (&["quantize", "--token-embedding-type", "F16"], "type=q4_k_m embedding=f16"),
        (&["convert"], "dtype=keep"),
        (&["convert", "--dtype", "f16"], "dtype=f16"),
    ] {
        let model = fixture("tiny-llama");
        let more = [args, &[&model[..], "-q", "--force", "-o", "out.gguf"]].concat();
        tersor_in(&folder, &more).exits(0);
        assert_eq!(Gguf::read(at(&folder, "out.gguf")).metadata.text("tersor.recipe"), Some(recipe));
    }
}
