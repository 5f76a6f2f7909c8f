//! `verify` finds every fault that a writer, a disk or a transfer could put into a file.

mod support;

use std::fs;
use std::path::Path;
use support::gguf::{Gguf, Tensor};
use support::{Noise, at, copy_folder, edit_json, empty, fixture, tersor_in};
use tempfile::TempDir;
use tersor::gguf::{Array, Value, value_offset};
use tersor_kernels::{Encoding, Format, Level};

const MODELS: &[&str] = &["tiny-llama", "tiny-spm"];
const TYPES: &[&str] = &["q8_0", "q4_0", "f32", "bf16"];
/// Values per head, in both models.
const HEAD: fn(&str) -> usize = |model| if model == "tiny-llama" { 64 } else { 16 };

/// A good output in a folder of its own.
struct Good {
    folder: TempDir,
    model: &'static str,
    kind: &'static str,
    gguf: Gguf,
}

impl Good {
    fn new(model: &'static str, kind: &'static str) -> Good {
        let folder = empty();
        tersor_in(&folder, &["quantize", &fixture(model), "-qt", kind, "-o", "good.gguf"]).exits(0);
        let gguf = Gguf::read(at(&folder, "good.gguf"));
        Good { folder, model, kind, gguf }
    }

    /// True for a file whose keys are equal as values: the score 0 may have become -0, which changes nothing.
    fn has_keys_of(&self, file: &[u8]) -> bool {
        let header = tersor::gguf::read_header(Path::new("damaged"), file, file.len() as u64);
        header.is_ok_and(|h| h.metadata == self.gguf.metadata)
    }

    /// Write the damaged file and expect `verify` to say `message` about it; gives what is wrong otherwise.
    fn missed(&self, name: &str, file: &[u8], message: &str) -> Option<String> {
        let path = at(&self.folder, "damaged.gguf");
        fs::write(&path, file).unwrap();
        let ran = tersor_in(&self.folder, &["verify", &path, "--base", &fixture(self.model)]);
        let told = ran.out.lines().any(|line| line.starts_with("differs: ") && line.contains(message));
        (ran.code != Some(5) || !told)
            .then(|| format!("{} {} {name}: wanted `{message}` in {ran:#?}", self.model, self.kind))
    }
}

fn rows(t: &Tensor) -> Vec<&[u8]> {
    let rows: u64 = t.dims[..t.dims.len() - 1].iter().product();
    t.bytes.chunks(t.bytes.len() / rows as usize).collect()
}

/// The rows of each head in the order of the checkpoint: halves one after the other instead of pairs.
fn unpermute(t: &mut Tensor, head: usize) {
    let order = |row: usize| row / head * head + row % head % 2 * (head / 2) + row % head / 2;
    let old = rows(t);
    let mut new = old.clone();
    for (at, row) in old.iter().enumerate() {
        new[order(at)] = row;
    }
    t.bytes = new.concat();
}

/// Decode, transpose, encode.
fn transpose(t: &mut Tensor) {
    let format = Format::by_name(t.format).unwrap();
    let n = t.dims[0] as usize;
    assert_eq!(t.dims, [n as u64, n as u64]);
    let mut values = vec![0.0; n * n];
    format.decoder().unwrap()(Level::best(), &t.bytes, &mut values);
    let turned: Vec<f32> = (0..n * n).map(|i| values[i % n * n + i / n]).collect();
    format.encoder().unwrap()(Level::best(), &turned, &Encoding::default(), &mut t.bytes).unwrap();
}

fn swap(gguf: &mut Gguf, a: &str, b: &str) {
    let bytes = gguf.find(a).bytes.clone();
    let other = std::mem::replace(&mut gguf.tensor(b).bytes, bytes);
    gguf.tensor(a).bytes = other;
}

fn edit_strings(gguf: &mut Gguf, key: &str, edit: impl FnOnce(&mut Vec<String>)) {
    let mut strings: Vec<String> = gguf.metadata.strings(key).unwrap().iter().map(str::to_owned).collect();
    edit(&mut strings);
    gguf.metadata.set(key, strings);
}

fn edit_real(gguf: &mut Gguf, key: &str, by: f32) {
    let value = gguf.metadata.real(key).unwrap() as f32;
    gguf.metadata.set(key, value * by);
}

/// The name of a fault, how it is made, and what `verify` says.
type Fault = (&'static str, fn(&mut Gguf, &str), &'static str);

const FAULTS: &[Fault] = &[
    ("rows of q as in the checkpoint", |g, m| unpermute(g.tensor("blk.0.attn_q.weight"), HEAD(m)), "`blk.0.attn_q.w"),
    ("rows of k as in the checkpoint", |g, m| unpermute(g.tensor("blk.1.attn_k.weight"), HEAD(m)), "`blk.1.attn_k.w"),
    ("a transposed matrix", |g, _| transpose(g.tensor("blk.0.attn_output.weight")), "`blk.0.attn_output.weight`"),
    ("gate and up swapped", |g, _| swap(g, "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"), "`blk.0.ffn_up.weight`"),
    ("layers swapped", |g, _| swap(g, "blk.0.attn_v.weight", "blk.1.attn_v.weight"), "`blk.1.attn_v.weight`"),
    ("a norm of another layer", |g, _| swap(g, "blk.0.ffn_norm.weight", "blk.1.ffn_norm.weight"), "`blk.0.ffn_norm."),
    ("a norm a thousandth larger", scale_norm, "`output_norm.weight`"),
    (
        "a tensor missing",
        |g, _| g.tensors.retain(|t| t.name != "blk.1.ffn_up.weight"),
        "`blk.1.ffn_up.weight`: missing",
    ),
    ("a tensor too many", add_tensor, "tensor `extra.weight`: the base has none"),
    ("another shape", |g, _| g.tensor("blk.0.attn_k.weight").dims.reverse(), "`blk.0.attn_k.weight`: shape ["),
    ("a token changed", |g, _| edit_strings(g, TOKENS, |t| t[299] += "x"), "`tokenizer.ggml.tokens`"),
    ("two tokens swapped", |g, _| edit_strings(g, TOKENS, |t| t.swap(290, 291)), "`tokenizer.ggml.tokens`"),
    ("another base of the rotation", |g, _| edit_real(g, "llama.rope.freq_base", 50.0), "`llama.rope.freq_base`"),
    ("another epsilon", |g, _| edit_real(g, "llama.attention.layer_norm_rms_epsilon", 10.0), "_rms_epsilon`: 0.0001, "),
    ("one block less", |g, _| g.metadata.set("llama.block_count", 1u32), "`llama.block_count`: 1, the base says "),
    (
        "the wrong first token",
        |g, _| g.metadata.set("tokenizer.ggml.bos_token_id", 7u32),
        "`tokenizer.ggml.bos_token_id`: 7",
    ),
    ("a key missing", |g, _| g.metadata.retain(|k| k != "llama.context_length"), "`llama.context_length`: missing"),
    (
        "a key too many",
        |g, _| g.metadata.set("tokenizer.ggml.mystery", true),
        "`tokenizer.ggml.mystery`: true, the base",
    ),
    ("a key of another integer type", other_type, " as i32, tersor writes it as u32"),
    ("no tokens", |g, _| g.metadata.retain(|k| k != TOKENS), "tokenizer: `"),
    (
        "another kind of tokenizer",
        |g, _| g.metadata.set("tokenizer.ggml.model", "none"),
        "`tokenizer.ggml.model`: none",
    ),
    (
        "another source",
        |g, _| g.metadata.set("tersor.source_blake3", "0".repeat(64)),
        "`tersor.source_blake3`: made from 0",
    ),
];

const TOKENS: &str = "tokenizer.ggml.tokens";

/// Only byte-level models have these keys.
const BYTE_LEVEL_FAULTS: &[Fault] = &[
    ("another pre-tokenizer", |g, _| g.metadata.set("tokenizer.ggml.pre", "qwen2"), "`tokenizer.ggml.pre`: qwen2"),
    ("merges shifted by one", |g, _| edit_strings(g, MERGES, |m| m.rotate_left(1)), "`tokenizer.ggml.merges`"),
];

const MERGES: &str = "tokenizer.ggml.merges";

/// Only SentencePiece models have this key.
const SCORED_FAULTS: &[Fault] = &[("a score changed", edit_score, "`tokenizer.ggml.scores`")];

fn scale_norm(gguf: &mut Gguf, _: &str) {
    let norm = gguf.tensor("output_norm.weight");
    for value in norm.bytes.chunks_mut(4) {
        let scaled = f32::from_le_bytes(value.try_into().unwrap()) * 1.001;
        value.copy_from_slice(&scaled.to_le_bytes());
    }
}

fn add_tensor(gguf: &mut Gguf, _: &str) {
    let norm = gguf.find("output_norm.weight").clone();
    gguf.tensors.push(Tensor { name: "extra.weight".into(), ..norm });
}

/// llama.cpp refuses a file whose sizes are not u32.
fn other_type(gguf: &mut Gguf, _: &str) {
    let size = gguf.metadata.count("llama.embedding_length").unwrap();
    gguf.metadata.set("llama.embedding_length", size as i32);
}

fn edit_score(gguf: &mut Gguf, _: &str) {
    let Some(Value::Array(Array::F32(scores))) = gguf.metadata.get("tokenizer.ggml.scores").cloned() else { panic!() };
    gguf.metadata.set("tokenizer.ggml.scores", scores.iter().map(|s| s * 1.5).collect::<Vec<f32>>());
}

fn expect_none(missed: Vec<String>) {
    assert!(missed.is_empty(), "{} missed\n{}", missed.len(), missed.join("\n"));
}

fn all_good() -> impl Iterator<Item = Good> {
    MODELS.iter().flat_map(|model| TYPES.iter().map(|kind| Good::new(model, kind)))
}

#[test]
fn a_good_file_matches_its_base() {
    for good in all_good() {
        // Written again by other code, it is still the same.
        fs::write(at(&good.folder, "again.gguf"), good.gguf.encode()).unwrap();
        for name in ["good.gguf", "again.gguf"] {
            let ran = tersor_in(&good.folder, &["verify", name, "--base", &fixture(good.model)]).exits(0);
            assert!(ran.out.contains("matches the base") && !ran.out.contains("differs"), "{ran:#?}");
        }
    }
}

/// In the small model all types, in the large one those of two kinds: a fault is found the same way in each.
#[test]
fn faults_of_writers_are_found() {
    let mut missed = Vec::new();
    for good in all_good().filter(|g| g.model == "tiny-spm" || ["q8_0", "bf16"].contains(&g.kind)) {
        let special = if good.model == "tiny-spm" { SCORED_FAULTS } else { BYTE_LEVEL_FAULTS };
        for (name, damage, message) in FAULTS.iter().chain(special) {
            let mut damaged = good.gguf.clone();
            damage(&mut damaged, good.model);
            assert!(damaged != good.gguf, "{name} changes nothing");
            missed.extend(good.missed(name, &damaged.encode(), message));
        }
    }
    expect_none(missed);
}

/// Bytes of the values that `verify` does not compare: they say how the file was made, and the folder of the base and
/// the version may have other names since.
fn not_compared(good: &Good) -> Vec<std::ops::Range<usize>> {
    let keys = ["general.file_type", "general.name", "tersor.recipe", "tersor.version"];
    let range = |key: &&str| {
        let start = value_offset(&good.gguf.metadata, key).unwrap() as usize;
        match good.gguf.metadata.get(key).unwrap() {
            Value::String(text) => start + 8..start + 8 + text.len(),
            _ => start..start + 4,
        }
    };
    // The name of the version's key too: without it the file counts as another writer's.
    let name = value_offset(&good.gguf.metadata, "tersor.version").unwrap() as usize - 4 - "tersor.version".len();
    keys.iter().map(range).chain(std::iter::once(name..name + "tersor.version".len())).collect()
}

/// Byte ranges of the parts of the file: keys, tensor table, padding, data.
fn parts(good: &Good, file: &[u8]) -> Vec<(&'static str, Vec<usize>)> {
    let header = tersor::gguf::read_header(Path::new("good"), file, file.len() as u64).unwrap();
    let keys_only = Gguf { metadata: good.gguf.metadata.clone(), tensors: Vec::new() };
    // Without tensors the header ends with its keys, and with padding.
    let keys_end = 24 + keys_bytes(&keys_only);
    let data_start = header.data_start as usize;
    let in_tensor: Vec<_> = header
        .tensors
        .iter()
        .map(|e| data_start + e.offset as usize..data_start + (e.offset + e.bytes) as usize)
        .collect();
    let table_end = (keys_end..data_start).rev().find(|at| file[*at] != 0).unwrap_or(keys_end) + 1;
    let gaps: Vec<usize> = (data_start..file.len()).filter(|at| !in_tensor.iter().any(|r| r.contains(at))).collect();
    let skipped = not_compared(good);
    vec![
        ("keys", (0..keys_end).filter(|at| !skipped.iter().any(|r| r.contains(at))).collect()),
        ("table", (keys_end..table_end).collect()),
        ("padding", gaps),
        ("data", in_tensor.into_iter().flatten().collect()),
    ]
}

/// Bytes of all pairs: where the last one's value starts, and what it takes.
fn keys_bytes(gguf: &Gguf) -> usize {
    let mut with_mark = gguf.metadata.clone();
    with_mark.set("end", true);
    value_offset(&with_mark, "end").unwrap() as usize - 24 - (8 + "end".len() + 4)
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let mut missed = Vec::new();
    let mut noise = Noise(0x7e45_0401);
    for good in all_good().filter(|g| g.model == "tiny-spm" || g.kind == "q4_0") {
        let file = fs::read(at(&good.folder, "good.gguf")).unwrap();
        for (part, places) in parts(&good, &file) {
            if places.is_empty() {
                continue;
            }
            for _ in 0..12 {
                let (place, bit) = (places[noise.below(places.len())], noise.below(8));
                let mut damaged = file.clone();
                damaged[place] ^= 1 << bit;
                if part == "keys" && good.has_keys_of(&damaged) {
                    continue;
                }
                missed.extend(good.missed(&format!("bit {bit} of byte {place} in {part}"), &damaged, ""));
            }
        }
    }
    expect_none(missed);
}

#[test]
fn a_cut_file_is_found() {
    let good = Good::new("tiny-spm", "q8_0");
    let file = good.gguf.encode();
    let cuts = [0, 3, 8, 23, 24, 1000, file.len() / 2, file.len() - 32, file.len() - 1];
    expect_none(cuts.iter().filter_map(|n| good.missed(&format!("{n} bytes"), &file[..*n], "")).collect());
    let longer = [&file[..], b"x"].concat();
    expect_none(good.missed("a byte more", &longer, "1 bytes after the last tensor").into_iter().collect());
}

#[test]
fn a_base_that_changed_since_is_found() {
    for (model, kind) in [("tiny-llama", "q8_0"), ("tiny-spm", "bf16")] {
        let good = Good::new(model, kind);
        let folder = good.folder.path().join("base");
        copy_folder(&fixture(model), &folder);
        let verify = || tersor_in(&good.folder, &["verify", "good.gguf", "--base", "base"]);
        verify().exits(0);
        let weights = folder.join("model.safetensors");
        let sound = fs::read(&weights).unwrap();
        let mut noise = Noise(9);
        for _ in 0..4 {
            let mut changed = sound.clone();
            let header = 8 + u64::from_le_bytes(sound[..8].try_into().unwrap()) as usize;
            // A low bit, so that the value stays finite.
            let value = header + 2 * noise.below((sound.len() - header) / 2);
            changed[value] ^= 1;
            fs::write(&weights, changed).unwrap();
            let ran = verify().exits(5);
            assert!(ran.out.contains("differs: `tersor.source_blake3`: made from "), "{ran:#?}");
        }
        fs::write(&weights, sound).unwrap();
        edit_json(&folder.join("config.json"), |c| {
            c.insert("transformers_version".into(), "0".into());
        });
        assert!(verify().exits(5).out.contains("`tersor.source_blake3`"));
    }
}
