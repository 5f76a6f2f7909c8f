//! What tersor writes, read by llama.cpp, PyPI gguf, tokenizers and safetensors. README.md tells how to run it.
#![expect(clippy::print_stdout, reason = "the figures and the reasons of skipped checks are for the reader of the run")]

mod workshop;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tersor::conversion::FILE_TYPES;
use workshop::{Workshop, fixture, given, python, skip};

/// Types whose bytes are the reference's with `--effort fast`.
const REFERENCE_TYPES: [&str; 9] = ["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "mxfp4"];

/// The beginnings of the small models' names.
const FAMILIES: [&str; 2] = ["llama", "qwen2"];

/// In TERSOR_MODELS: the folder, and a file that llama.cpp made of the same model.
const SMOLLM2: &str = "smollm2-135m";
const SMOLLM2_GGUF: &str = "smollm2-135m-gguf";
const WIKITEXT: &str = "wikitext-2/wiki.test.raw";

/// The unquantized weights' bits per byte in windows without overlap, from the card of fixtures/tiny-llama.
const TINY_LLAMA_BITS_PER_BYTE: &str = "2.2856";

/// The only GGUF file in the folder of llama.cpp's SmolLM2.
fn smollm2_by_llama_cpp() -> Option<PathBuf> {
    let folder = given("TERSOR_MODELS", SMOLLM2_GGUF)?;
    let mut files = std::fs::read_dir(&folder).expect("the folder can be read").map(|e| e.expect("an entry").path());
    let found = files.find(|p| p.extension().is_some_and(|e| e == "gguf"));
    if found.is_none() {
        skip(&format!("{SMOLLM2_GGUF} holds no GGUF file"));
    }
    found
}

/// SmolLM2 by tersor with the chat template of llama.cpp's file, since the folder comes without one.
fn smollm2(shop: &Workshop, file_type: &str) -> Option<PathBuf> {
    let (model, original) = (given("TERSOR_MODELS", SMOLLM2)?, smollm2_by_llama_cpp()?);
    let template = shop.path("template.jinja");
    if !python("template.py", &[&original, &template]) {
        return None;
    }
    Some(shop.quantize(&model, file_type, &[OsStr::new("--chat-template"), template.as_os_str()]))
}

/// The folders that make_models.py makes and whose names start like this.
fn small_models(shop: &Workshop, start: &str) -> Option<Vec<PathBuf>> {
    let out = shop.path("models");
    if !python("make_models.py", &[&fixture(""), &out]) {
        return None;
    }
    let mut folders: Vec<_> =
        std::fs::read_dir(&out).expect("the script made a folder").map(|e| e.expect("an entry").path()).collect();
    folders.retain(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(start)));
    folders.sort();
    Some(folders)
}

#[test]
fn llama_cpp_chats_with_smollm2() {
    let shop = Workshop::new();
    if let Some(file) = smollm2(&shop, "q8_0") {
        python("chat.py", &[file]);
    }
}

#[test]
fn q4_0_predicts_what_llama_quantize_s_does() {
    let shop = Workshop::new();
    let (Some(model), Some(text)) = (given("TERSOR_MODELS", SMOLLM2), given("TERSOR_DATA", WIKITEXT)) else { return };
    let [bf16, q4_0] = ["bf16", "q4_0"].map(|t| shop.quantize(&model, t, &["--effort", "fast"].map(OsStr::new)));
    python("llama_quantize.py", &[bf16, q4_0, text]);
}

#[test]
fn llama_cpp_tokenizes_all_of_wikitext_alike() {
    let shop = Workshop::new();
    let (Some(model), Some(text)) = (given("TERSOR_MODELS", SMOLLM2), given("TERSOR_DATA", WIKITEXT)) else { return };
    let file = shop.quantize(&model, "q4_0", &[]);
    python("tokens.py", &[text, file, model.join("tokenizer.json")]);
}

#[test]
fn llama_cpp_tokenizes_the_fixtures_text_alike() {
    let shop = Workshop::new();
    let qwen2 = small_models(&shop, "qwen2").and_then(|models| models.into_iter().find(|m| m.ends_with("qwen2")));
    let mut args = vec![fixture("text/heldout.txt")];
    for model in [fixture("tiny-llama"), fixture("tiny-spm")].into_iter().chain(qwen2) {
        args.push(shop.quantize(&model, "q8_0", &[]));
        args.push(model.join("tokenizer.json"));
    }
    python("tokens.py", &args);
}

#[test]
fn numpy_makes_the_same_bytes_and_values_with_little_effort() {
    let shop = Workshop::new();
    let model = fixture("tiny-llama");
    let mut args = vec![model.clone()];
    args.extend(REFERENCE_TYPES.map(|t| shop.quantize(&model, t, &["--pure", "--effort", "fast"].map(OsStr::new))));
    python("encodings.py", &args);
}

#[test]
fn llama_cpp_runs_every_file_type_and_numpy_decodes_it_alike() {
    let shop = Workshop::new();
    let model = fixture("tiny-llama");
    let mut args = Vec::new();
    for t in FILE_TYPES.iter().filter(|t| t.without_imatrix.is_none()) {
        let file = shop.quantize(&model, t.name, &[]);
        let decoded = shop.decode(&file, &format!("{}-decoded.gguf", t.name));
        args.extend([file, decoded]);
    }
    python("presets.py", &args);
}

/// logits.py on folders and the F32 files made of them.
fn compare_logits(shop: &Workshop, models: Vec<PathBuf>) {
    let mut args = Vec::new();
    for model in models {
        let file = shop.quantize(&model, "f32", &[]);
        args.extend([model, file]);
    }
    python("logits.py", &args);
}

#[test]
fn llama_cpp_computes_the_logits_of_the_fixtures() {
    compare_logits(&Workshop::new(), vec![fixture("tiny-llama"), fixture("tiny-spm")]);
}

#[test]
fn llama_cpp_computes_the_logits_of_every_small_model() {
    for family in FAMILIES {
        let shop = Workshop::new();
        if let Some(models) = small_models(&shop, family) {
            compare_logits(&shop, models);
        }
    }
}

/// transformers takes a null for an absent key.
#[test]
fn null_in_config_json_means_absent() {
    let shop = Workshop::new();
    if let Some(models) = small_models(&shop, "null") {
        compare_logits(&shop, models);
    }
}

/// A setting that llama.cpp cannot be told of must not be dropped in silence.
#[test]
fn unusual_settings_are_refused_or_right() {
    let shop = Workshop::new();
    let mut args = Vec::new();
    for model in small_models(&shop, "unusual").unwrap_or_default() {
        match shop.try_f32(&model) {
            Ok(file) => args.extend([model, file]),
            Err(message) => println!("refused: {message}"),
        }
    }
    if !args.is_empty() {
        python("logits.py", &args);
    }
}

#[test]
fn q8_0_keeps_tiny_llama_s_bits_per_byte() {
    let shop = Workshop::new();
    let model = fixture("tiny-llama");
    let (file, text) = (shop.quantize(&model, "q8_0", &[]), fixture("text/heldout.txt"));
    let args = [file, model.join("tokenizer.json"), text, TINY_LLAMA_BITS_PER_BYTE.into()];
    python("bits_per_byte.py", &args);
}

#[test]
fn metadata_is_that_of_llama_cpp_s_converter() {
    let shop = Workshop::new();
    let Some(original) = smollm2_by_llama_cpp() else { return };
    if let Some(file) = smollm2(&shop, "q8_0") {
        python("metadata.py", &[file, original]);
    }
}

#[test]
fn llama_cpp_loads_split_files() {
    let shop = Workshop::new();
    let model = fixture("tiny-llama");
    let whole = shop.quantize(&model, "q8_0", &[]);
    let parts = Workshop::new();
    parts.quantize(&model, "q8_0", &["--split-max-size", "1M"].map(OsStr::new));
    let first = std::fs::read_dir(parts.path("")).expect("the folder of parts").map(|e| e.expect("an entry").path());
    let first = first.into_iter().find(|p| p.to_string_lossy().contains("-00001-of-")).expect("a first part");
    python("split.py", &[whole, first]);
}

#[test]
fn llama_quantize_is_better_with_statistics_of_tersor() {
    let shop = Workshop::new();
    let model = fixture("tiny-llama");
    let (file, imatrix) = (shop.quantize(&model, "f32", &[]), shop.path("imatrix.gguf"));
    shop.calibrate(&model, &fixture("text/train.txt"), &imatrix);
    python("imatrix.py", &[file, imatrix, fixture("text/heldout.txt")]);
}

/// Magnitude, Wanda and its budgets: the same zeros as a few lines of numpy choose.
#[test]
fn numpy_prunes_the_same_weights() {
    let shop = Workshop::new();
    // Of a real model the two that look at all of it: numpy needs some seconds for each.
    let mut models = vec![(fixture("tiny-llama"), 0)];
    models.extend(given("TERSOR_MODELS", SMOLLM2).map(|model| (model, 5)));
    for (model, skipped) in models {
        let (imatrix, out) = (shop.path("imatrix.gguf"), shop.path("pruned"));
        shop.calibrate(&model, &fixture("text/train.txt"), &imatrix);
        let statistics = ["--imatrix", imatrix.to_str().expect("a path of a temporary folder")];
        let cases: [(&str, &str, &[&str]); 7] = [
            ("magnitude", "0.5", &[]),
            ("magnitude", "2:4", &[]),
            ("magnitude", "0.3", &["--scope", "tensor"]),
            ("wanda", "0.5", &statistics),
            ("wanda", "4:8", &statistics),
            ("magnitude", "0.3", &["--scope", "global"]),
            ("owl", "0.6", &[&statistics[..], &["--allocate", "owl"]].concat()),
        ];
        for (method, sparsity, options) in cases.into_iter().skip(skipped) {
            let name = if method == "owl" { "wanda" } else { method };
            shop.prune(&model, &[&["--method", name, "--sparsity", sparsity], options].concat(), &out);
            let scope = if options.first() == Some(&"--scope") { options[1] } else { "row" };
            let args = [model.as_os_str(), out.as_os_str(), imatrix.as_os_str()];
            python("prune.py", &[&args[..], &[method, sparsity, scope].map(OsStr::new)].concat());
        }
    }
}

#[test]
fn llama_cpp_computes_the_logits_of_shallower_and_narrower_models() {
    let shop = Workshop::new();
    let (model, imatrix) = (fixture("tiny-llama"), shop.path("imatrix.gguf"));
    shop.calibrate(&model, &fixture("text/train.txt"), &imatrix);
    let statistics = imatrix.to_str().expect("a path of a temporary folder");
    let cases: [(&str, &[&str]); 2] = [
        ("shallower", &["--method", "depth", "--drop", "1,3"]),
        (
            "narrower",
            &["--method", "width", "--ffn", "512", "--heads", "2", "--hidden", "192", "--imatrix", statistics],
        ),
    ];
    let pruned = cases.map(|(name, options)| {
        let out = shop.path(name);
        shop.prune(&model, options, &out);
        out
    });
    compare_logits(&shop, pruned.into());
}

#[test]
fn llama_cpp_computes_the_logits_of_students() {
    let shop = Workshop::new();
    let (teacher, text) = (fixture("tiny-llama"), fixture("text/train.txt"));
    let students = [
        ("shallower", &["--student", "depth=2"][..]),
        ("narrower", &["--student", "depth=3,ffn=512,hidden=192", "--hidden", "mse"]),
        ("repaired", &["--student", "depth=3", "--recover", "lora:4"]),
    ];
    let made = students.map(|(name, options)| {
        let out = shop.path(name);
        shop.distill(&teacher, &text, options, &out);
        out
    });
    compare_logits(&shop, made.into());
}

/// Two contexts here; the README has the figures of twenty.
#[test]
fn perplexity_and_divergence_are_those_of_llama_cpp() {
    let shop = Workshop::new();
    let (Some(model), Some(text)) = (given("TERSOR_MODELS", SMOLLM2), given("TERSOR_DATA", WIKITEXT)) else { return };
    let base = shop.quantize(&model, "bf16", &[]);
    let mut args = vec![text.clone(), base.clone()];
    for file_type in ["bf16", "q8_0", "q4_k_m", "q4_0"] {
        let file = shop.quantize(&model, file_type, &["--force".as_ref()]);
        let found = shop.path(&format!("{file_type}.json"));
        let against = base.to_str().expect("a path of a temporary folder");
        shop.eval(&file, &["--base", against, "--text"], &text, &["--chunks", "2"], &found);
        args.extend([file, found]);
    }
    python("perplexity.py", &args);
}

/// Few items, since llama.cpp runs every choice from its beginning.
#[test]
fn tasks_have_the_accuracies_of_llama_cpp_s_logits() {
    let shop = Workshop::new();
    let (Some(model), Some(task)) = (given("TERSOR_MODELS", SMOLLM2), given("TERSOR_DATA", "hellaswag")) else {
        return;
    };
    let data = task.parent().expect("it is in the folder of data");
    let (file, found) = (shop.quantize(&model, "f32", &[]), shop.path("eval.json"));
    shop.eval(
        &file,
        &["--tasks", "hellaswag,arc,piqa,lambada", "--data"],
        data,
        &["--shots", "1", "--limit", "8"],
        &found,
    );
    python("tasks.py", &[file.as_os_str(), data.as_os_str(), OsStr::new("1"), found.as_os_str()]);
}

/// GGUF to a folder and back, and what Python's packages find in the folder.
fn there_and_back(shop: &Workshop, model: &Path, file_type: &str) {
    let source = shop.quantize(model, file_type, &[]);
    let stem = source.file_stem().expect("a file has a name").to_string_lossy().into_owned();
    let folder = shop.convert(&source, "safetensors", &format!("{stem}-hf"));
    let back = shop.convert(&folder, "gguf", &format!("{stem}-back.gguf"));
    let text = fixture("text/heldout.txt");
    python("folder.py", &[source.as_path(), &folder, &back, &text, model]);
}

#[test]
fn folders_made_of_gguf_files_hold_the_same_model() {
    let shop = Workshop::new();
    for file_type in ["f16", "bf16", "q5_1", "q4_0"] {
        there_and_back(&shop, &fixture("tiny-llama"), file_type);
    }
    there_and_back(&shop, &fixture("tiny-spm"), "f32");
}

/// Scalings of llama-3 with other parameters than the published ones are refused, so `llama-rope-llama3` is left out.
#[test]
fn folders_made_of_gguf_files_keep_rotary_scaling_head_size_and_attention_biases() {
    for family in FAMILIES {
        let shop = Workshop::new();
        for model in small_models(&shop, family).unwrap_or_default() {
            if !model.ends_with("llama-rope-llama3") && !model.ends_with("llama-mlp-bias") {
                there_and_back(&shop, &model, "f32");
            }
        }
    }
}

#[test]
fn folders_made_of_gguf_files_keep_feed_forward_biases() {
    let shop = Workshop::new();
    for model in small_models(&shop, "llama-mlp-bias").unwrap_or_default() {
        there_and_back(&shop, &model, "f32");
    }
}
