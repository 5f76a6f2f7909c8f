//! Pruned checkpoints: which weights, blocks and channels are gone, and that nothing else changed.

use crate::support::gguf::Gguf;
use crate::support::safetensors::{self, Tensor};
use crate::support::{at, command, copy_folder, edit_json, empty, finish, fixture, json, names, tersor_in};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tersor_kernels::Level;

pub(crate) const TINY: &str = "tiny-llama";

/// `im.gguf` with the statistics of a model on a little text.
fn calibrated(model: &str) -> TempDir {
    let folder = empty();
    let text = fixture("text/train.txt");
    let args = ["calibrate", model, "--calibration", &text, "--chunks", "2", "--ctx", "64", "-qo", "im.gguf"];
    tersor_in(&folder, &args).exits(0);
    folder
}

/// `tersor prune MODEL -o out OPTIONS`; what it says as JSON.
#[track_caller]
pub(crate) fn prune(folder: &TempDir, model: &str, options: &[&str]) -> Value {
    let args = [&["prune", model, "-qo", "out", "--force", "--json"], options].concat();
    json(&tersor_in(folder, &args).exits(0))
}

/// Tensors of `model.safetensors` in a folder.
pub(crate) fn tensors(folder: impl AsRef<Path>) -> HashMap<String, Tensor> {
    let all = safetensors::read(folder.as_ref().join("model.safetensors"));
    all.into_iter().map(|t| (t.name.clone(), t)).collect()
}

/// The magnitudes of bfloat16, as their bits: their order is that of the numbers.
fn magnitudes(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]) & 0x7fff).collect()
}

/// Positions of the `count` lowest; of equal ones the first.
fn lowest(values: &[u16], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|i| (values[*i], *i));
    order.truncate(count);
    order
}

/// The tensor with zeros at the lowest magnitudes of every `group` neighbours.
fn expected(t: &Tensor, group: usize, zeros: usize) -> Vec<u8> {
    let mut bytes = t.bytes.clone();
    for (n, group_of) in magnitudes(&t.bytes).chunks(group).enumerate() {
        lowest(group_of, zeros).into_iter().for_each(|i| bytes[2 * (n * group + i)..][..2].fill(0));
    }
    bytes
}

pub(crate) fn cols(t: &Tensor) -> usize {
    *t.shape.last().unwrap() as usize
}

pub(crate) fn values(t: &Tensor) -> usize {
    t.bytes.len() / 2
}

pub(crate) fn is_matrix(name: &str) -> bool {
    name.contains("_proj")
}

#[test]
fn the_lowest_magnitudes_go_and_all_else_stays() {
    let source = tensors(fixture(TINY));
    let folder = empty();
    type Groups = fn(&Tensor) -> (usize, usize);
    let cases: [(&[&str], Groups); 4] = [
        (&["--sparsity", "0.3"], |t| (cols(t), cols(t) * 3 / 10)),
        (&["--sparsity", "2:4"], |_| (4, 2)),
        (&["--sparsity", "3:16"], |_| (16, 13)),
        (&["--sparsity", "0.7", "--scope", "tensor"], |t| (values(t), (0.7 * values(t) as f64) as usize)),
    ];
    for (options, groups) in cases {
        let report = prune(&folder, &fixture(TINY), &[&["--method", "magnitude"], options].concat());
        let mut zeros = 0;
        for (name, t) in tensors(at(&folder, "out")) {
            let (group, count) = groups(&t);
            let original = &source[&name];
            let wanted = if is_matrix(&name) { expected(original, group, count) } else { original.bytes.clone() };
            assert!(t.bytes == wanted, "{options:?}: {name}");
            zeros += if is_matrix(&name) { original.bytes.len() / 2 / group * count } else { 0 };
        }
        assert_eq!(report["zeros_asked"], zeros, "{options:?}");
        let found: u64 = report["tensors"].as_array().unwrap().iter().map(|t| t["zeros"].as_u64().unwrap()).sum();
        assert_eq!(found, zeros as u64, "{options:?}");
    }
}

/// One threshold over all tensors; one with a rule of its own has another.
#[test]
fn a_threshold_for_the_whole_model() {
    let source = tensors(fixture(TINY));
    let folder = empty();
    let options =
        ["--method", "magnitude", "--scope", "global", "--sparsity", "0.4", "--sparsity", "blk.1.attn_q.*=0.9"];
    let report = prune(&folder, &fixture(TINY), &options);
    let found = tensors(at(&folder, "out"));
    let (mut threshold, mut least_kept, mut zeros, mut all) = (0, u16::MAX, 0, 0);
    for (name, t) in found.iter().filter(|(name, _)| is_matrix(name)) {
        let (before, after) = (magnitudes(&source[name].bytes), magnitudes(&t.bytes));
        let gone = before.iter().zip(&after).filter(|(_, after)| **after == 0);
        if name == "model.layers.1.self_attn.q_proj.weight" {
            assert_eq!(gone.count(), (0.9 * before.len() as f64) as usize);
            continue;
        }
        all += before.len();
        zeros += gone.clone().count();
        threshold = threshold.max(gone.map(|(before, _)| *before).max().unwrap());
        least_kept = least_kept.min(*after.iter().filter(|v| **v > 0).min().unwrap());
    }
    assert_eq!(zeros, (0.4 * all as f64) as usize);
    assert_eq!(threshold, least_kept, "equal weights are taken from the first ones on, so some are left");
    assert_eq!(report["zeros_asked"].as_u64().unwrap() as usize, zeros + 256 * 256 * 9 / 10);
    assert!(found.iter().all(|(name, t)| is_matrix(name) || t.bytes == source[name].bytes));
}

#[test]
#[allow(clippy::print_stdout)] // What was skipped, and why.
fn threads_and_instruction_sets_do_not_change_a_byte() {
    let model = fixture(TINY);
    let folder = calibrated(&model);
    let available: Vec<&str> = Level::available().into_iter().map(Level::name).collect();
    let methods: [&[&str]; 4] = [
        &["magnitude", "--sparsity", "0.45", "--scope", "global"],
        &["wanda", "--sparsity", "0.5", "--allocate", "owl", "--imatrix", "im.gguf"],
        &["wanda", "--sparsity", "4:8", "--imatrix", "im.gguf"],
        &["width", "--ffn", "512", "--heads", "2", "--hidden", "128", "--imatrix", "im.gguf"],
    ];
    for method in methods {
        let run = |level: &str, threads: &str| {
            let args = ["prune", &model, "-qo", "out", "--force", "--threads", threads, "--method"];
            let mut command = command(folder.path(), &[&args, method].concat());
            command.env("TERSOR_LEVEL", level);
            finish(command).exits(0);
            fs::read(folder.path().join("out/model.safetensors")).unwrap()
        };
        let first = run("scalar", "1");
        for (level, threads) in [("scalar", "3"), ("avx2", "2"), ("avx512", "7")] {
            if available.contains(&level) {
                assert!(run(level, threads) == first, "{method:?} at {level} on {threads} threads");
            } else {
                println!("skipped: this CPU has no {level}");
            }
        }
    }
}

#[test]
fn pruning_and_quantizing_at_once_gives_the_bytes_of_one_after_the_other() {
    let model = fixture(TINY);
    let folder = calibrated(&model);
    let cases: [(&[&str], &str); 5] = [
        (&["magnitude", "--sparsity", "0.5"], "q4_0"),
        (&["magnitude", "--sparsity", "0.5", "--scope", "global"], "bf16"),
        (&["wanda", "--sparsity", "2:4", "--imatrix", "im.gguf"], "q6_k"),
        (&["depth", "--drop", "1-2"], "q8_0"),
        (&["width", "--ffn", "500", "--multiple", "256", "--imatrix", "im.gguf"], "q4_k_m"),
    ];
    for (method, kind) in cases {
        let prune = |rest: &[&str]| {
            tersor_in(&folder, &[&["prune", &model, "-q", "--force", "--method"], method, rest].concat())
        };
        prune(&["-o", "once.gguf", "-t", kind]).exits(0);
        // The file has the name of the folder that it was made from.
        prune(&["-o", TINY]).exits(0);
        tersor_in(&folder, &["quantize", TINY, "-qo", "twice.gguf", "--force", "-t", kind]).exits(0);
        let [once, twice] = ["once.gguf", "twice.gguf"].map(|name| fs::read(at(&folder, name)).unwrap());
        assert!(once == twice, "{method:?} {kind}");
        tersor_in(&folder, &["verify", "once.gguf", "--base", TINY]).exits(0);
        tersor_in(&folder, &["verify", "once.gguf", "--base", &model]).fails(2, "was pruned");
    }
}

#[test]
fn blocks_that_are_left_move_up() {
    let source = tensors(fixture(TINY));
    let folder = empty();
    let report = prune(&folder, &fixture(TINY), &["--method", "depth", "--drop", "0,2"]);
    let new: Vec<Option<u64>> = report["blocks"].as_array().unwrap().iter().map(|b| b["new"].as_u64()).collect();
    assert_eq!(new, [None, Some(0), None, Some(1)]);
    let found = tensors(at(&folder, "out"));
    assert_eq!(found.len(), source.len() - 2 * (source.len() - 2) / 4);
    for (name, t) in &found {
        let old = name.replace(".1.", ".3.").replace(".0.", ".1.");
        assert_eq!(t.bytes, source[&old].bytes, "{name}");
    }
    let config: Value = serde_json::from_slice(&fs::read(at(&folder, "out/config.json")).unwrap()).unwrap();
    assert_eq!(config["num_hidden_layers"], 2);
    // The same from a GGUF file, whose names are others.
    let text = fixture("text/heldout.txt");
    tersor_in(&folder, &["convert", &fixture(TINY), "-qo", "all.gguf"]).exits(0);
    tersor_in(&folder, &["convert", "out", "-qo", "folder.gguf"]).exits(0);
    tersor_in(&folder, &["prune", "all.gguf", "-qo", "file.gguf", "--method", "depth", "--drop", "0,2"]).exits(0);
    let [by_folder, by_file] = ["folder.gguf", "file.gguf"].map(|name| Gguf::read(at(&folder, name)));
    assert_eq!(by_folder.sorted(), by_file.sorted());
    assert_eq!(by_file.metadata.count("llama.block_count"), Some(2));
    for model in ["out", "file.gguf"] {
        tersor_in(&folder, &["eval", model, "--text", &text, "--ctx", "64", "--chunks", "1", "-q"]).exits(0);
    }
}

/// The blocks that do least are found, by either measure, and what is left still predicts.
/// What a model computes is the same for any number of threads.
#[test]
fn threads_do_not_change_what_is_measured() {
    let (model, folder) = (fixture(TINY), empty());
    let text = fixture("text/heldout.txt");
    let windows = ["--ctx", "64", "--chunks", "2", "-q", "--force", "-o", "out"];
    let depth = ["prune", &model, "--method", "depth", "--keep", "2", "--search", "--calibration", &text, "--dry-run"];
    let sensitivity = ["sensitivity", &model, "--text", &text];
    let run = |args: &[&str], threads: &str| tersor_in(&folder, &[args, &windows, &["--threads", threads]].concat());
    let [one, three] = ["1", "3"].map(|threads| {
        let report = run(&[&depth[..], &["--json"]].concat(), threads).exits(0).out;
        run(&sensitivity, threads).exits(0);
        let measured = fs::read_to_string(at(&folder, "out")).unwrap();
        (serde_json::from_str::<Value>(&report).unwrap()["blocks"].to_string(), measured)
    });
    assert!(one.0.contains("influence") && one.1.contains("quantize"), "{one:?}");
    assert_eq!(one, three);
}

#[test]
fn depth_is_chosen_by_influence_or_search() {
    let folder = empty();
    let (train, heldout) = (fixture("text/train.txt"), fixture("text/heldout.txt"));
    let chosen = |more: &[&str]| {
        let keep = ["--method", "depth", "--keep", "2", "--calibration", &train, "--text", &heldout];
        let report = prune(&folder, &fixture(TINY), &[&keep[..], &["--ctx", "64", "--chunks", "2"], more].concat());
        let blocks = report["blocks"].as_array().unwrap().clone();
        assert_eq!(blocks.iter().filter(|b| b["new"].is_null()).count(), 2);
        assert!(blocks.iter().all(|b| (0.0..1.0).contains(&b["influence"].as_f64().unwrap())));
        (blocks, report["quality"]["kl"]["mean"].as_f64().unwrap_or_else(|| panic!("{report}")))
    };
    let (blocks, _) = chosen(&[]);
    let influence = |gone: bool| {
        let some = blocks.iter().filter(move |b| b["new"].is_null() == gone);
        some.map(|b| b["influence"].as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let most = influence(true).into_iter().fold(0.0, f64::max);
    assert!(influence(false).iter().all(|kept| *kept >= most));
    let (searched, _) = chosen(&["--search", "--svg", "blocks.svg"]);
    let mut removed: Vec<(u64, f64)> = searched
        .iter()
        .filter(|b| !b["removed"].is_null())
        .map(|b| (b["removed"][0].as_u64().unwrap(), b["removed"][1].as_f64().unwrap()))
        .collect();
    removed.sort_by_key(|(place, _)| *place);
    assert!(removed.len() == 2 && removed[0].0 == 1 && removed[0].1 < removed[1].1, "{removed:?}");
    let picture = fs::read_to_string(at(&folder, "blocks.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("goes"), "{picture}");
}

/// Rows and columns of every tensor that stay are the source's, in their order, and the same wherever they must agree.
#[test]
fn channels_and_heads_stay_whole() {
    let model = fixture(TINY);
    let folder = calibrated(&model);
    let source = tensors(&model);
    let options = ["--method", "width", "--ffn", "500", "--heads", "2", "--hidden", "192", "--imatrix", "im.gguf"];
    let report = prune(&folder, &model, &options);
    let sizes: Vec<(u64, u64)> = report["sizes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["asked"].as_u64().unwrap(), s["after"].as_u64().unwrap()))
        .collect();
    assert_eq!(sizes, [(500, 512), (192, 192), (2, 2)]);
    let found = tensors(at(&folder, "out"));
    let norm = |t: &Tensor| -> Vec<f32> {
        t.bytes.chunks_exact(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)).collect()
    };
    for (name, wanted) in [
        ("model.embed_tokens.weight", [1024, 192]),
        ("model.layers.3.self_attn.q_proj.weight", [128, 192]),
        ("model.layers.3.self_attn.k_proj.weight", [64, 192]),
        ("model.layers.3.self_attn.o_proj.weight", [192, 128]),
        ("model.layers.3.mlp.up_proj.weight", [512, 192]),
        ("model.layers.3.mlp.down_proj.weight", [192, 512]),
    ] {
        assert_eq!(found[name].shape, wanted, "{name}");
    }
    // Hidden channels are told by the embedding's columns, which all differ.
    let columns = |t: &Tensor| {
        let (rows, cols) = (t.shape[0] as usize, t.shape[1] as usize);
        let value = |row: usize, col: usize| &t.bytes[2 * (row * cols + col)..][..2];
        (0..cols).map(|c| (0..rows).flat_map(|r| value(r, c).to_vec()).collect()).collect::<Vec<Vec<u8>>>()
    };
    let of = |part: &[Vec<u8>], all: &[Vec<u8>]| -> Vec<usize> {
        part.iter().map(|column| all.iter().position(|other| other == column).unwrap()).collect()
    };
    let embedding = "model.embed_tokens.weight";
    let hidden = of(&columns(&found[embedding]), &columns(&source[embedding]));
    assert!(hidden.windows(2).all(|w| w[0] < w[1]));
    // Norms are scaled to the strength of what stays, each as a whole.
    for name in ["model.norm.weight", "model.layers.2.input_layernorm.weight"] {
        let all = norm(&source[name]);
        let ratios: Vec<f32> = norm(&found[name]).iter().zip(&hidden).map(|(new, h)| new / all[*h]).collect();
        let mean = ratios.iter().sum::<f32>() / ratios.len() as f32;
        assert!(1.0 < mean && mean < (256f32 / 192.0).sqrt(), "{name}: {mean}");
        assert!(ratios.iter().all(|r| (r / mean - 1.0).abs() < 1.0 / 128.0), "{name}: {ratios:?}");
    }
    let config: Value = serde_json::from_slice(&fs::read(at(&folder, "out/config.json")).unwrap()).unwrap();
    for (key, value) in [
        ("intermediate_size", 512),
        ("hidden_size", 192),
        ("num_attention_heads", 2),
        ("num_key_value_heads", 1),
        ("head_dim", 64),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    let text = fixture("text/heldout.txt");
    tersor_in(&folder, &["eval", "out", "--text", &text, "--ctx", "64", "--chunks", "1", "-q"]).exits(0);
}

/// A family that tersor has no row for, in two shards, and a GGUF file.
#[test]
fn zeros_need_no_known_family() {
    let folder = empty();
    let model = folder.path().join("unknown");
    copy_folder(&fixture(TINY), &model);
    edit_json(&model.join("config.json"), |config| {
        config.insert("architectures".into(), serde_json::json!(["SomethingNewForCausalLM"]));
    });
    let model = at(&folder, "unknown");
    prune(&folder, &model, &["--method", "magnitude", "--sparsity", "0.5", "--split-max-size", "4M"]);
    assert!(names(&folder.path().join("out")).contains(&"model-00002-of-00002.safetensors".to_owned()));
    let known = empty();
    prune(&known, &fixture(TINY), &["--method", "magnitude", "--sparsity", "0.5"]);
    let wanted = tensors(at(&known, "out"));
    for shard in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        for t in safetensors::read(folder.path().join("out").join(shard)) {
            assert_eq!(t, wanted[&t.name]);
        }
    }
    let ran = tersor_in(&folder, &["inspect", "out", "--sparsity"]).exits(0);
    assert!(ran.out.contains("50.00 %") && ran.out.contains("magnitude sparsity=0.5 scope=row"), "{ran:#?}");
}

#[test]
fn formats_that_cannot_hold_a_zero_are_named() {
    let folder = empty();
    let run = |kind: &str, more: &[&str]| {
        let args =
            ["prune", &fixture(TINY), "-qo", "out.gguf", "--force", "--method", "magnitude", "--sparsity", "0.5"];
        tersor_in(&folder, &[&args, &["-t", kind][..], more].concat())
    };
    assert!(run("q4_k_m", &[]).exits(0).out.contains("warning: q4_k cannot hold a zero"));
    run("q4_1", &["--strict"]).fails(2, "q4_1 cannot hold a zero");
    assert!(!run("q8_0", &["--strict"]).exits(0).out.contains("warning"));
}

#[test]
fn what_cannot_be_pruned_is_said_and_nothing_is_written() {
    let model = fixture(TINY);
    let folder = calibrated(&model);
    let other = calibrated(&fixture("tiny-spm"));
    let theirs = at(&other, "im.gguf");
    tersor_in(&folder, &["quantize", &model, "-qo", "q.gguf", "-t", "q8_0"]).exits(0);
    let text = fixture("text/train.txt");
    let before = names(folder.path());
    let magnitude = ["--method", "magnitude", "--sparsity"];
    let cases: [(&[&str], &str); 24] = [
        (&["--sparsity", "1"], "a sparsity is a share from 0 and below 1"),
        (&["--sparsity", "-0.5"], "-0"),
        (&["--sparsity", "4:2"], "how many stay of how many"),
        (&["--sparsity", "1:3"], "rows of 256 values do not divide into groups of 3"),
        (&["--sparsity", "0.5", "--sparsity", "0.6"], "two sparsities for all tensors: 0.5 and 0.6"),
        (&["--sparsity", "nothing.*=0.5"], "rule `nothing.*=0.5` matches no tensor"),
        (&["--sparsity", "=0.5"], "no pattern before `=`"),
        (&[], "no sparsity is given"),
        (&["--sparsity", "0.5", "--store", "bitmask", "-t", "q4_0"], "`--store bitmask` has no values of q4_0"),
        (&["--method", "depth", "--drop", "1", "--store", "bitmask"], "`--store bitmask` is for folders with zeros"),
        (&["--sparsity", "0.5", "--keep", "2"], "`--keep` has no effect with `--method magnitude`"),
        (&["--method", "wanda", "--sparsity", "0.5"], "needs statistics of the model's activations"),
        (&["--method", "wanda", "--sparsity", "0.5", "--imatrix", &theirs], "statistics of another model"),
        (&["--method", "wanda", "--sparsity", "2:4", "--imatrix", "im.gguf", "--allocate", "owl"], "N:M is fixed"),
        (&["--method", "depth"], "how many blocks stay, or which go is missing"),
        (&["--method", "depth", "--keep", "2"], "a text that blocks are judged on is missing"),
        (&["--method", "depth", "--keep", "4", "--calibration", &text], "4 blocks cannot be kept of 4"),
        (&["--method", "depth", "--drop", "4"], "there is no block 4: the model has 4"),
        (&["--method", "depth", "--drop", "0-3"], "all 4 blocks would go"),
        (&["--method", "width", "--imatrix", "im.gguf"], "a size is missing"),
        (&["--method", "width", "--heads", "3", "--imatrix", "im.gguf"], "the model has 4 in groups of 2"),
        (&["--method", "width", "--ffn", "9000", "--imatrix", "im.gguf"], "`intermediate_size` cannot become 9000"),
        (&["--method", "width", "--ffn", "768", "--imatrix", "im.gguf"], "nothing becomes narrower"),
        (&["--method", "width", "--ffn", "512", "--imatrix", &theirs], "statistics of another model"),
    ];
    for (options, message) in cases {
        let method: &[&str] = if options.contains(&"--method") { &[] } else { &magnitude[..2] };
        let ran = tersor_in(&folder, &[&["prune", &model, "-qo", "out"], method, options].concat());
        assert!(
            ran.code.is_some_and(|code| [1, 2].contains(&code)) && ran.err.contains(message),
            "{options:?}: no `{message}` in {ran:#?}"
        );
        assert_eq!(names(folder.path()), before, "{options:?}");
    }
    let quantized = [&["prune", "q.gguf", "-qo", "out.gguf"], &magnitude[..], &["0.5"]].concat();
    tersor_in(&folder, &quantized).fails(2, "is stored as q8_0, and pruning is for plain floats");
    let itself = [&["prune", &model, "-q", "--force", "-o", &model], &magnitude[..], &["0.5"]].concat();
    tersor_in(&folder, &itself).fails(2, "is or holds the model that is read");
    assert_eq!(names(folder.path()), before);
}

/// Nothing is written, and the plan shows what would be.
#[test]
fn a_dry_run_shows_the_map_of_blocks() {
    let folder = empty();
    let args = ["prune", &fixture(TINY), "-qo", "out", "--dry-run", "--method", "depth", "--drop", "1"];
    let ran = tersor_in(&folder, &args).exits(0);
    for line in ["    0        0", "    1        -", "    3        2", "blocks  4 -> 3, without 1", "(not written)"] {
        assert!(ran.out.contains(line), "no `{line}` in {}", ran.out);
    }
    assert!(names(folder.path()).is_empty());
}
