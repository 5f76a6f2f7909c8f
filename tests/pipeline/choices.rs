//! What the options change.

use crate::support::gguf::Gguf;
use crate::support::{Ran, at, empty, fixture, tersor_in};
use std::fs;
use tempfile::TempDir;
use tersor::gguf::Value;

/// `tersor quantize` with these options; the outcome, and the folder of `out.gguf`.
fn quantize(model: &str, options: &[&str]) -> (Ran, TempDir) {
    let folder = empty();
    let model = fixture(model);
    let ran = tersor_in(&folder, &[&["quantize", &model, "-qo", "out.gguf"], options].concat());
    (ran, folder)
}

#[track_caller]
fn quantized(model: &str, options: &[&str]) -> Gguf {
    let (ran, folder) = quantize(model, options);
    ran.exits(0);
    Gguf::read(at(&folder, "out.gguf"))
}

/// A model, options, and the formats that some tensors have then.
type Case<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)]);

#[test]
fn formats_follow_types_options_and_rules() {
    // In tiny-llama the embedding serves as output head. Rows of tiny-spm have 64 values, too few for q6_k.
    let cases: &[Case<'_>] = &[
        ("tiny-spm", &["-t", "q4_0"], &[("output", "q8_0"), ("token_embd", "q4_0"), ("blk.0.attn_q", "q4_0")]),
        ("tiny-spm", &["-t", "q4_0", "--pure"], &[("output", "q4_0"), ("token_embd", "q4_0"), ("output_norm", "f32")]),
        ("tiny-spm", &["-t", "q8_0", "--output-tensor-type", "bf16"], &[("output", "bf16"), ("token_embd", "q8_0")]),
        ("tiny-spm", &["-t", "q8_0", "--token-embedding-type", "F16"], &[("output", "q8_0"), ("token_embd", "f16")]),
        ("tiny-llama", &["-t", "q5_0"], &[("token_embd", "q6_k"), ("blk.3.ffn_down", "q5_0")]),
        ("tiny-llama", &["-t", "q5_0", "--pure"], &[("token_embd", "q5_0")]),
        (
            "tiny-llama",
            &["-t", "q8_0", "--output-tensor-type", "f16"],
            &[("token_embd", "f16"), ("blk.0.attn_q", "q8_0")],
        ),
        ("tiny-llama", &["--output-tensor-type", "f16", "--token-embedding-type", "q4_1"], &[("token_embd", "q4_1")]),
        (
            "tiny-llama",
            &["-t", "q8_0", "--rule", "blk.1.*=q4_0"],
            &[("blk.1.attn_q", "q4_0"), ("blk.1.attn_norm", "f32"), ("blk.2.attn_q", "q8_0")],
        ),
        (
            "tiny-llama",
            &["-t", "q8_0", "--rule", "model.layers.1.mlp.*=Q4_0"],
            &[("blk.1.ffn_up", "q4_0"), ("blk.1.attn_q", "q8_0")],
        ),
        (
            "tiny-llama",
            &["--rule", "*down*=f16", "--rule", "blk.0.*=q4_0"],
            &[("blk.0.ffn_down", "f16"), ("blk.0.ffn_up", "q4_0")],
        ),
        (
            "tiny-llama",
            &["--rule", "blk.0.*=q4_0", "--rule", "*ffn*=f16"],
            &[("blk.0.ffn_down", "q4_0"), ("blk.1.ffn_down", "f16")],
        ),
        ("broken/hf-valid", &[], &[("blk.0.attn_q", "f16"), ("output_norm", "f32")]),
        ("broken/hf-valid", &["--fallback", "bf16"], &[("blk.0.attn_q", "bf16")]),
        ("broken/hf-valid", &["--fallback", "q4_0"], &[("blk.0.attn_q", "f16")]),
        ("broken/hf-valid", &["-t", "bf16", "--strict"], &[("blk.0.attn_q", "bf16")]),
    ];
    for (model, options, formats) in cases {
        let out = quantized(model, options);
        for (name, format) in *formats {
            assert_eq!(out.find(&format!("{name}.weight")).format, *format, "{model} {options:?}: {name}");
        }
    }
}

#[test]
fn rows_that_do_not_divide_are_an_error_when_asked_to_be() {
    let (ran, folder) = quantize("broken/hf-valid", &["-t", "q4_0", "--strict"]);
    let ran = ran.fails(1, "tensor `token_embd.weight`: rows of 4 values do not divide into ");
    assert!(ran.err.contains("hint: add a rule"), "{}", ran.err);
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn a_rule_that_fits_nothing_is_an_error_with_names_that_it_could_mean() {
    let (ran, _folder) = quantize("tiny-llama", &["--rule", "layers.*.ffn_down=f16"]);
    let hint = "hint: names here look like `blk.0.ffn_down.weight`, `blk.1.ffn_down.weight`";
    let ran = ran.fails(1, "rule `layers.*.ffn_down=f16` matches no tensor");
    assert!(ran.err.contains(hint), "{}", ran.err);
    // A norm is never quantized, so a rule for norms alone does nothing either.
    quantize("tiny-llama", &["--rule", "*norm*=q8_0"])
        .0
        .fails(2, "rule `*norm*=q8_0`: it matches only tensors that stay float");
}

#[test]
fn tensors_can_be_left_out() {
    let out = quantized("broken/hf-tensor-extra", &["--drop", "*.surprise.weight"]);
    assert!(out.tensors.iter().all(|t| !t.name.contains("surprise")));
    assert_eq!(out.metadata.text("tersor.recipe"), Some("type=q4_k_m drop:*.surprise.weight"));
    let out = quantized("tiny-spm", &["--drop", "lm_head.weight"]);
    assert!(out.tensors.iter().all(|t| t.name != "output.weight"));
}

#[test]
fn keys_can_be_set() {
    let options = [
        "--override-kv",
        "llama.context_length=int:99",
        "--override-kv",
        "tokenizer.ggml.add_bos_token=bool:true",
        "--override-kv",
        "general.name=str:a = b",
        "--override-kv",
        "my.key=f64:0.5",
    ];
    let metadata = quantized("tiny-llama", &options).metadata;
    assert_eq!(metadata.get("llama.context_length"), Some(&Value::U32(99)));
    assert_eq!(metadata.flag("tokenizer.ggml.add_bos_token"), Some(true));
    assert_eq!(metadata.text("general.name"), Some("a = b"));
    assert_eq!(metadata.get("my.key"), Some(&Value::F64(0.5)));
    for (bad, message) in [
        ("general.alignment=u32:64", "`general.alignment` describes the file itself and cannot be set"),
        ("a.b=7", "write KEY=TYPE:VALUE"),
        ("a.b=u8:300", "`300` is no u8"),
    ] {
        quantize("tiny-llama", &["--override-kv", bad]).0.fails(2, message);
    }
}

#[test]
fn verify_is_told_what_the_run_was_told() {
    let folder = empty();
    let (model, template) = (fixture("tiny-spm"), at(&folder, "chat.jinja"));
    fs::write(&template, "{{ messages }}\n").unwrap();
    let told =
        ["--drop", "lm_head.weight", "--override-kv", "llama.context_length=int:99", "--chat-template", &template];
    tersor_in(&folder, &[&["quantize", &model, "-qo", "out.gguf"], &told[..]].concat()).exits(0);
    assert_eq!(Gguf::read(at(&folder, "out.gguf")).metadata.text("tokenizer.chat_template"), Some("{{ messages }}\n"));
    let verify = ["verify", "out.gguf", "--base", &model];
    tersor_in(&folder, &[&verify, &told[..]].concat()).exits(0);
    let ran = tersor_in(&folder, &verify).exits(5);
    for difference in ["`output.weight`: missing", "`llama.context_length`: 99", "`tokenizer.chat_template`"] {
        assert!(ran.out.contains(difference), "{}", ran.out);
    }
}
