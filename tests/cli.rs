//! What the command says: exact output, hints, exit codes, JSON.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{at, command, copy_folder, empty, finish, fixture, json, names, tersor, tersor_in};

/// Text with what depends on the machine cut off: the first words of the lines `buffers` and `disk`.
fn masked(text: &str) -> String {
    let mask = |line: &str| match line.split_whitespace().next() {
        Some(word @ ("buffers" | "disk" | "time")) => format!("{word} ...\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(mask).collect()
}

/// One block of the plan of tiny-llama.
fn block(n: usize) -> String {
    format!(
        "blk.{n}.attn_norm.weight           256  bf16  f32     1024  stays float
blk.{n}.attn_q.weight        256 x 256  bf16  q8_0   69632  type
blk.{n}.attn_k.weight        128 x 256  bf16  q8_0   34816  type
blk.{n}.attn_v.weight        128 x 256  bf16  q8_0   34816  type
blk.{n}.attn_output.weight   256 x 256  bf16  q8_0   69632  type
blk.{n}.ffn_norm.weight            256  bf16  f32     1024  stays float
blk.{n}.ffn_gate.weight      768 x 256  bf16  q8_0  208896  type
blk.{n}.ffn_up.weight        768 x 256  bf16  q8_0  208896  type
blk.{n}.ffn_down.weight      256 x 768  bf16  q8_0  208896  type
"
    )
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let folder = empty();
    let ran = tersor_in(&folder, &["quantize", &fixture("tiny-llama"), "-t", "q8_0", "--dry-run", "-q"]).exits(0);
    let head = "tensor                         shape  from  to     bytes  why
token_embd.weight         1024 x 256  bf16  q8_0  278528  type
";
    let tail = "output_norm.weight               256  bf16  f32     1024  stays float

recipe     type=q8_0
size       6.8 MB -> 3.7 MB, 8.52 bits per weight
tensors    q8_0 29 tensors (3.6 MB), f32 9 tensors (9.2 kB)
fallbacks  none
buffers ...
disk ...
output     tiny-llama-Q8_0.gguf (not written)
";
    assert_eq!(masked(&ran.out), head.to_owned() + &(0..4).map(block).collect::<String>() + tail);
    assert_eq!(ran.err, "");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn the_default_is_q4_k_m() {
    let ran = tersor(&["quantize", &fixture("tiny-llama"), "--dry-run", "-q"]).exits(0);
    for line in ["recipe     type=q4_k_m\n", "fallbacks  none\n", "output     tiny-llama-Q4_K_M.gguf (not written)\n"] {
        assert!(ran.out.contains(line), "{}", ran.out);
    }
}

#[test]
fn a_dry_run_as_json() {
    let plan = json(&tersor(&["quantize", &fixture("broken/hf-valid"), "--dry-run", "--json", "-q"]).exits(0));
    assert_eq!(plan["schema"], 1);
    assert_eq!(plan["outputs"], serde_json::json!(["hf-valid-Q4_K_M.gguf"]));
    assert_eq!(plan["tensors"][0]["name"], "token_embd.weight");
    assert_eq!(plan["tensors"][0]["to"], "f16");
    assert_eq!(plan["tensors"][0]["fallback_from"], "q8_0");
    assert!(plan["totals"]["fallbacks"].as_u64() > Some(0));
}

#[test]
fn a_run_ends_with_a_report() {
    let folder = empty();
    let ran = tersor_in(&folder, &["quantize", &fixture("tiny-spm"), "-t", "q8_0", "-q"]).exits(0);
    for line in
        ["fallbacks    none\n", "output       tiny-spm-Q8_0.gguf\n", "try it       llama-cli -m tiny-spm-Q8_0.gguf\n"]
    {
        assert!(ran.out.contains(line), "{}", ran.out);
    }
    assert!(ran.out.contains("checked      structure, tokenizer on "), "{}", ran.out);
    assert_eq!(ran.err, "");
    let report = json(
        &tersor_in(&folder, &["quantize", &fixture("tiny-spm"), "-qt", "q8_0", "--json", "-o", "b.gguf"]).exits(0),
    );
    assert_eq!((&report["schema"], &report["checked"]), (&Value::from(1), &Value::from(true)));
    assert_eq!(report["source_blake3"].as_str().map(str::len), Some(64));
    assert_eq!(report["totals"]["fallback_bytes"].to_string(), "0.0");
    let size = fs::metadata(at(&folder, "b.gguf")).unwrap().len();
    assert_eq!(report["totals"]["bytes_after"], size);
    let report =
        json(&tersor_in(&folder, &["quantize", &fixture("tiny-spm"), "-q", "--json", "-o", "c.gguf", "--no-verify"]));
    assert_eq!(report["checked"], false);
}

#[test]
fn verify_as_json() {
    let folder = empty();
    tersor_in(&folder, &["quantize", &fixture("tiny-spm"), "-qo", "a.gguf"]).exits(0);
    let report = json(&tersor_in(&folder, &["verify", "a.gguf", "--base", &fixture("tiny-spm"), "--json"]).exits(0));
    assert_eq!((&report["exact"], &report["differences"]), (&Value::from(21), &Value::from(Vec::<Value>::new())));
    let report = json(&tersor_in(&folder, &["verify", "a.gguf", "--base", &fixture("tiny-llama"), "--json"]).exits(5));
    assert!(report["differences"].as_array().unwrap().len() > 10);
}

#[test]
fn formats_and_families() {
    let formats = tersor(&["formats"]).exits(0).out;
    let lines: Vec<&str> = formats.lines().collect();
    assert_eq!(lines[0], "format   bits/weight  block  bytes  tersor");
    assert_eq!(lines[4], "q8_0          8.5000     32     34  reads and writes");
    assert!(lines.contains(&"f8_e4m3       8.0000      1      1  reads"));
    let rows = json(&tersor(&["formats", "--json"]).exits(0));
    let end = lines.iter().position(|l| l.is_empty()).unwrap();
    assert_eq!(rows["formats"].as_array().unwrap().len(), end - 1);
    assert_eq!(lines[end + 1], "type       also  general.file_type  base");
    assert!(lines.contains(&"q4_k_m     q4_k                 15  q4_k"), "{formats}");
    assert_eq!(rows["file_types"].as_array().unwrap().len(), lines.len() - end - 2);
    let families = tersor(&["archs"]).exits(0).out;
    assert!(families.starts_with("llama    LlamaForCausalLM, MistralForCausalLM\n"), "{families}");
    assert_eq!(json(&tersor(&["archs", "--json"]))["architectures"][0]["gguf"], "llama");
}

#[test]
fn a_format_shows_what_the_page_of_formats_says_of_it() {
    let pages = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md")).unwrap();
    for name in ["q4_k", "F16", "f8_e4m3"] {
        let shown = tersor(&["formats", "show", name]).exits(0).out;
        let (name, page) = (name.to_lowercase(), shown.split_once("\n\n").unwrap().1);
        assert_eq!(shown, format!("{name}\n\n{page}"));
        assert!(page.contains(" bits per weight"), "{page}");
        let rest = &pages[pages.find(&format!("### {name}\n")).unwrap()..];
        let section = rest[4..].split("\n### ").next().unwrap();
        assert_eq!(shown, section);
    }
    let shown = tersor(&["formats", "show", "iq2_xxs"]).exits(0).out;
    let wanted = "iq2_xxs\n\n- 2.0625 bits per weight: 256 values in 66 bytes; GGUF type 16; tersor recognises it\n";
    assert_eq!(shown, wanted);
    tersor(&["formats", "show", "q4_9"]).fails(2, "unknown format `q4_9`; known are q4_1, q4_0, q4_k\n");
    tersor(&["formats", "show", "i8"]).fails(2, "unknown format `i8`; known are f32, f16, bf16");
    tersor(&["formats", "show"]).fails(2, "<NAME>");
    tersor(&["formats", "--json", "show", "q4_k"]).fails(2, "show");
}

#[test]
fn help_names_every_command() {
    let help = tersor(&["--help"]).exits(0);
    for verb in ["quantize", "convert", "inspect", "verify", "formats", "archs", "completions"] {
        assert!(help.out.contains(&format!("\n  {verb} ")), "{verb}");
        assert!(tersor(&[verb, "--help"]).exits(0).out.contains("Usage: tersor "));
    }
    assert_eq!(tersor(&["--version"]).exits(0).out, format!("tersor {}\n", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        assert!(tersor(&["completions", shell]).exits(0).out.contains("quantize"), "{shell}");
    }
}

#[test]
fn spellings_of_other_tools_get_a_hint() {
    let model = fixture("tiny-spm");
    let cases: &[(&[&str], &str)] = &[
        (&["quantize", &model, "--outtype", "q8_0"], "hint: here that is `--type TYPE` (quantize) or `--dtype DTYPE`"),
        (&["quantize", &model, "--outfile", "x.gguf"], "hint: here that is `-o FILE`"),
        (&["quantize", &model, "--tensor-type", "a=q8_0"], "hint: here that is `--rule PATTERN=FORMAT`"),
        (&["quantize", &model, "--leave-output-tensor"], "hint: here that is `--output-tensor-type bf16`"),
        (&["quantize", &model, "Q4_0"], "hint: a type is given as `--type q4_0`"),
        (&["quantize", &model, "out.gguf"], "hint: an output is given as `-o out.gguf`"),
        (&["quantize", &model, "--type", "q9_9"], "unknown file type `q9_9`; known are f32, f16, bf16, q8_0"),
        (&["quantize", &model, "--type", "IQ2_M"], "file type `IQ2_M` is not yet supported, nearest: q2_k"),
        (&["quantize", &model, "--rule", "x=iq3_s"], "format `iq3_s` is not yet supported, nearest: q3_k"),
        (&["quantize", &model, "--fallback", "q1_0"], "format `q1_0` is not yet supported, nearest: tq1_0"),
        (&["quantize", &model, "Q4_K"], "hint: a type is given as `--type q4_k`"),
        (&["quantize", &model, "--rule", "x=q9"], "unknown format `q9`; known are f32"),
        (&["quantize", &model, "--rule", "x"], "no `=`; write PATTERN=FORMAT"),
        (&["quantize", &model, "--split-max-size", "big"], "write a number of bytes, or one with K, M or G"),
        (&["quantize", &model, "--threads", "0"], "0 is not in 1.."),
        (&["quantize"], "<MODEL>"),
        (&["shrink"], "unrecognized subcommand 'shrink'"),
    ];
    for (args, hint) in cases {
        tersor(args).fails(2, hint);
    }
}

#[test]
fn names_of_types_ignore_case() {
    let folder = empty();
    for kind in ["q4_0", "Q4_0", "bF16"] {
        let out = format!("{}-{}.gguf", "tiny-spm", kind.to_uppercase());
        tersor_in(&folder, &["quantize", &fixture("tiny-spm"), "-q", "--force", "--type", kind]).exits(0);
        assert!(folder.path().join(&out).is_file(), "{out}");
    }
}

#[test]
fn a_repository_is_looked_up_in_the_cache() {
    let folder = empty();
    let hub = folder.path().join("home/hub/models--some--model");
    copy_folder(&fixture("tiny-spm"), &hub.join("snapshots/0123abcd"));
    fs::create_dir(hub.join("refs")).unwrap();
    fs::write(hub.join("refs/main"), "0123abcd").unwrap();
    let run = |args: &[&str]| {
        let mut command = command(folder.path(), args);
        command.env("HF_HOME", folder.path().join("home"));
        finish(command)
    };
    run(&["inspect", "some/model"]).exits(0);
    run(&["inspect", "some/model@0123abcd"]).exits(0);
    let made = run(&["quantize", "some/model", "-q"]).exits(0);
    assert!(made.out.contains("output       model-Q4_K_M.gguf\n"), "the name is the repository's: {}", made.out);
    let missing =
        run(&["quantize", "some/other", "-q"]).fails(1, "`some/other` is neither a path nor in the Hugging Face");
    assert!(missing.err.ends_with("hint: hf download some/other\n"), "{}", missing.err);
    let missing = run(&["inspect", "some/model@v2"]).exits(1);
    assert!(missing.err.ends_with("hint: hf download some/model --revision v2\n"), "{}", missing.err);
    run(&["inspect", "nowhere"]).fails(1, "`nowhere`");
}

#[test]
fn inspect_shows_folders_and_files_of_both_kinds() {
    let folder = empty();
    let spm = fixture("tiny-spm");
    tersor_in(&folder, &["quantize", &spm, "-qo", "a.gguf"]).exits(0);
    let weights = format!("{spm}/model.safetensors");
    let cases: &[(&str, &[&str])] = &[
        (
            &spm,
            &[
                "container     safetensors\narchitecture  llama\n",
                "138048 weights, 16.00 bits per weight",
                "num_hidden_layers",
            ],
        ),
        (&weights, &["container     safetensors\n", "lm_head.weight", "bf16 21 tensors"]),
        ("a.gguf", &["container     gguf\narchitecture  llama\n", "tokenizer.ggml.model", "token_embd.weight", "q8_0"]),
    ];
    for (path, parts) in cases {
        let ran = tersor_in(&folder, &["inspect", path]).exits(0);
        for part in *parts {
            assert!(ran.out.contains(part), "{path}: no `{part}` in {}", ran.out);
        }
        let seen = json(&tersor_in(&folder, &["inspect", path, "--json"]).exits(0));
        assert_eq!((&seen["schema"], &seen["weights"]), (&Value::from(1), &Value::from(138_048)), "{path}");
    }
}

#[test]
fn files_of_other_kinds_are_named_for_what_they_are() {
    let folder = empty();
    fs::write(at(&folder, "notes.txt"), "this is no model").unwrap();
    fs::create_dir(folder.path().join("torch")).unwrap();
    fs::write(folder.path().join("torch/pytorch_model.bin"), "x").unwrap();
    fs::write(folder.path().join("torch/config.json"), "{}").unwrap();
    let ran = tersor_in(&folder, &["inspect", "notes.txt"]);
    ran.fails(1, "`notes.txt` is neither a Hugging Face folder, a safetensors file nor a GGUF file");
    tersor_in(&folder, &["inspect", "torch"]).fails(1, "a folder with pytorch_model.bin");
    assert!(Path::new(&fixture("text")).is_dir());
    tersor(&["inspect", &fixture("text")]).fails(1, "no safetensors file in this folder");
}
