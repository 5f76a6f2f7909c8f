//! Every kind of damage in fixtures/broken gives an error that says what is wrong and where, in bounded memory, and
//! leaves nothing behind. The tables list the messages.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Ran, empty, finish, fixture, limited, names};

/// Sound models, and one damaged file more each: `quantize` fails, and `inspect`, which reads no more than headers and
/// config.json, does not.
const ONLY_IN_QUANTIZE: &[(&str, &str)] = &[
    ("gguf-no-architecture.gguf", "key `general.architecture` is missing"),
    ("hf-config-gelu", "`hidden_act` is \"gelu\", which llama in GGUF cannot express; it computes \"silu\""),
    ("hf-config-heads-not-dividing", "`num_attention_heads`: found 3, wanted a divisor of 4"),
    ("hf-config-heads-zero", "`num_attention_heads`: found 0, wanted a whole number from 1 to 16384"),
    ("hf-config-hidden-negative", "`hidden_size`: found -4, wanted a whole number from 1 to 1048576"),
    ("hf-config-hidden-zero", "`hidden_size`: found 0, wanted a whole number from 1 to 1048576"),
    ("hf-config-kv-heads-not-dividing", "`num_key_value_heads`: found 3, wanted a divisor of the 2 query heads"),
    ("hf-config-layers-absurd", "`num_hidden_layers`: found 1000000000, wanted a whole number from 1 to 10000"),
    ("hf-config-layers-negative", "`num_hidden_layers`: found -1, wanted a whole number from 1 to 10000"),
    ("hf-config-layers-string", "`num_hidden_layers`: found \"one\", wanted a whole number from 1 to 10000"),
    ("hf-config-no-hidden-size", "config.json`: key `hidden_size` is missing\nhint: config.json must be the one"),
    ("hf-config-no-layers", "config.json`: key `num_hidden_layers` is missing\nhint: config.json must be the one"),
    ("hf-config-quantized-awq", "quantized with `awq`, which tersor does not read\nhint: start from the unquantized"),
    ("hf-config-sliding-window", "`sliding_window` is 16, which qwen2 in GGUF cannot express"),
    ("hf-config-unknown-architecture", "architecture `FooForCausalLM` is not known; known are `LlamaForCausalLM`"),
    (
        "hf-config-vocab-too-large",
        "tensor `model.embed_tokens.weight`: shape [258, 4], the configuration says [266, 4]",
    ),
    (
        "hf-tensor-extra",
        "`llama` has no tensor of this name: `model.layers.0.surprise.weight`\nhint: if the model does",
    ),
    (
        "hf-tensor-inf",
        "tensor `model.layers.0.self_attn.q_proj.weight`: inf at row 0, column 0\nhint: pass `--allow-non-finite`",
    ),
    ("hf-tensor-missing", "1 tensor missing: `model.layers.0.self_attn.k_proj.weight`"),
    (
        "hf-tensor-nan",
        "tensor `model.layers.0.self_attn.q_proj.weight`: NaN at row 0, column 0\nhint: pass `--allow-non-finite`",
    ),
    ("hf-tensor-shape-k", "`model.layers.0.self_attn.k_proj.weight`: shape [4, 2], the configuration says [2, 4]"),
    ("hf-tensor-shape-q", "`model.layers.0.self_attn.q_proj.weight`: shape [8, 2], the configuration says [4, 4]"),
    ("hf-tokenizer-duplicate-id", "tokenizer.json`: the tokens `H` and `I` both have the id 40"),
    ("hf-tokenizer-merge-unknown", "tokenizer.json`: merge 1, `Ġt` + `zz`, names `zz`, which is no token"),
    ("hf-tokenizer-missing", "there is neither tokenizer.json nor tokenizer.model"),
    ("hf-tokenizer-model-garbage", "tokenizer.model`: byte 1: found field number 0, wanted a SentencePiece model"),
    ("hf-tokenizer-too-many", "token `<|more|>` has the id 258, but the embedding has 258 rows"),
    ("hf-tokenizer-truncated", "tokenizer.json`: line 1, column 1500: found the end of the file"),
    ("hf-tokenizer-unknown-split", "no name for this pre-tokenizer: Split(`(?:ab|\\d{7})+?q` Isolated)"),
];

/// What cannot be opened at all.
const ALREADY_IN_INSPECT: &[(&str, &str)] = &[
    ("gguf-alignment-0.gguf", "general.alignment at byte 4310: found 0 (u32), wanted a power of two"),
    ("gguf-alignment-48.gguf", "general.alignment at byte 4310: found 48 (u32), wanted a power of two"),
    ("gguf-array-absurd.gguf", "array `extra.array` at byte 4312: found 1152921504606846976, wanted at most 3048"),
    ("gguf-array-nested.gguf", "array `extra.array` at byte 4312: found an array of arrays"),
    ("gguf-array-past-end.gguf", "array `tokenizer.ggml.token_type` at byte 3102: found 1000000, wanted at most 1056"),
    ("gguf-array-unknown-type.gguf", "type of `extra.array` at byte 4304: found 13, wanted a value type, 0 to 12"),
    ("gguf-big-endian.gguf", "version at byte 8: found a big-endian file, wanted 2 or 3, little-endian"),
    ("gguf-data-truncated.gguf", "tensor `blk.0.ffn_down.weight`: data: found a file of 7312 bytes, wanted 32 bytes"),
    ("gguf-dims-5.gguf", "tensor `blk.0.ffn_down.weight` at byte 4885: found 5 dimensions, wanted at most 4"),
    ("gguf-dims-overflow.gguf", "found sizes [1099511627776, 1099511627776], wanted a product below 2^63"),
    ("gguf-dims-wrap.gguf", "found sizes [4294967296, 4294967296], wanted a product below 2^63"),
    ("gguf-duplicate-key.gguf", "key `general.file_type` at byte 4302: found a second one, wanted unique keys"),
    ("gguf-duplicate-tensor.gguf", "tensor `blk.0.ffn_up.weight`: name: found a second one, wanted unique names"),
    ("gguf-empty-key.gguf", "key 17 at byte 4285: found an empty one, wanted a name"),
    ("gguf-empty.gguf", "magic: found an empty file, wanted `GGUF`"),
    ("gguf-infos-truncated.gguf", "tensor `blk.0.attn_norm.weight` at byte 4376: found the end of the file"),
    ("gguf-key-not-utf8.gguf", "key 17 at byte 4293: found bytes that are not UTF-8, wanted text"),
    ("gguf-kv-truncated.gguf", "length of key 7 at byte 300: found 29, wanted at most 0 in this file"),
    ("gguf-magic.gguf", "magic: found \"GGUX\", wanted `GGUF`"),
    ("gguf-n-kv-absurd.gguf", "key count at byte 24: found 1099511627776, wanted at most 561 in this file"),
    ("gguf-n-tensors-absurd.gguf", "tensor count at byte 24: found 1099511627776, wanted at most 304 in this file"),
    ("gguf-name-64.gguf", "name of tensor 10 at byte 4924: found 64 bytes, wanted 1 to 63 bytes"),
    ("gguf-ne0-not-block.gguf", "found rows of 4 values, wanted a multiple of 32, the q8_0 block"),
    ("gguf-offset-gap.gguf", "tensor `blk.0.ffn_down.weight`: offset: found 2400, wanted 2368, the end of the tensor"),
    ("gguf-offset-misaligned.gguf", "tensor `blk.0.ffn_down.weight`: offset: found 2376, wanted 2368"),
    ("gguf-offset-overlap.gguf", "tensor `blk.0.ffn_down.weight`: offset: found 2336, wanted 2368"),
    ("gguf-offset-past-end.gguf", "tensor `blk.0.ffn_down.weight`: offset: found 1073744192, wanted 2368"),
    ("gguf-split-count-00001-of-00002.gguf", "wanted NAME-00001-of-00003.gguf, since `split.count` is 3"),
    ("gguf-split-count-00002-of-00002.gguf", "wanted NAME-00001-of-00003.gguf, since `split.count` is 3"),
    (
        "gguf-split-missing-00001-of-00002.gguf",
        "`split.count` is 2: found no `gguf-split-missing-00002-of-00002.gguf`, wanted all parts",
    ),
    ("gguf-string-absurd.gguf", "length of `general.architecture` at byte 64: found 9223372036854775808"),
    ("gguf-string-past-end.gguf", "length of `general.architecture` at byte 64: found 1048576, wanted at most 7264"),
    ("gguf-type-removed.gguf", "tensor `blk.0.ffn_down.weight` at byte 4905: found type number 4"),
    ("gguf-type-unknown.gguf", "tensor `blk.0.ffn_down.weight` at byte 4905: found type number 99"),
    ("gguf-value-unknown-type.gguf", "type of `extra.value` at byte 4300: found 13, wanted a value type, 0 to 12"),
    ("gguf-version-1.gguf", "version at byte 8: found 1, wanted 2 or 3, little-endian"),
    ("gguf-version-99.gguf", "version at byte 8: found 99, wanted 2 or 3, little-endian"),
    ("hf-config-missing", "hf-config-missing/config.json`: No such file or directory"),
    ("hf-config-truncated", "config.json`: line 1, column 200: found the end of the file, wanted a JSON object"),
    (
        "hf-index-absolute",
        "weight_map: `model.norm.weight`: found `/model.safetensors`, wanted a file inside the folder",
    ),
    ("hf-index-missing-shard", "found `model-00002-of-00002.safetensors`, which is not there, wanted all shards"),
    ("hf-index-outside", "`model.norm.weight`: found `../hf-valid/model.safetensors`, wanted a file inside the folder"),
    ("hf-index-truncated", "index.json`: line 1, column 422: found the end of the file, wanted an object with"),
    ("hf-index-wrong-shard", "`model.norm.weight`: found `model-00001-of-00002.safetensors`, wanted a file that holds"),
    ("hf-weights-dtype-size", "`model.norm.weight`: data_offsets: found 8 bytes, wanted 16, the size of [4] in F32"),
    ("hf-weights-duplicate-name", "header, line 1, column 1064: found a second `model.norm.weight`, wanted"),
    ("hf-weights-empty", "header length: found a file of 0 bytes, wanted at least 8 bytes"),
    ("hf-weights-header-absurd", "header length: found 1152921504606846976, wanted at most 3328"),
    ("hf-weights-header-not-json", "header, line 1, column 1: found no JSON (expected value), wanted"),
    ("hf-weights-header-not-utf8", "header, byte 977: found bytes that are not UTF-8, wanted JSON"),
    ("hf-weights-header-past-end", "header length: found 3336, wanted at most 3328 (the file has 3336 bytes)"),
    ("hf-weights-hole", "`model.norm.weight`: data_offsets: found a hole before it, 2280, wanted 2272"),
    (
        "hf-weights-negative-shape",
        "header, line 1, column 1016: found invalid value: integer `-4`, expected u64, wanted",
    ),
    ("hf-weights-offset-out-of-range", "found 1050848 to 1050856, wanted a range within 2280 bytes"),
    ("hf-weights-offsets-reversed", "data_offsets: found 2280 to 2272, wanted a range within 2280 bytes"),
    ("hf-weights-overlap", "data_offsets: found an overlap with the tensor before, 2268, wanted 2272"),
    ("hf-weights-shape-overflow", "found [1099511627776, 1099511627776], wanted a product below 2^63"),
    ("hf-weights-tiny", "header length: found a file of 5 bytes, wanted at least 8 bytes"),
    ("hf-weights-trailing", "end of data: found 8 bytes after the last tensor, wanted none"),
    ("hf-weights-truncated", "`model.norm.weight`: data_offsets: found 2272 to 2280, wanted a range within 2272 bytes"),
    ("hf-weights-unknown-dtype", "tensor `model.norm.weight`: dtype: found `BF17`, wanted F32, F16, BF16"),
];

const VALID: &[&str] = &[
    "gguf-valid-split-00001-of-00002.gguf",
    "gguf-valid-split-00002-of-00002.gguf",
    "gguf-valid.gguf",
    "hf-valid",
    "hf-valid-qwen2",
    "hf-valid-sharded",
];

/// Address space in KiB. The inputs have a few thousand bytes, so whoever needs a gigabyte believed a number in them.
const LIMIT: &str = "ulimit -v 1048576";

/// Every byte below a path.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    if path.is_dir() {
        let inside = fs::read_dir(path).unwrap();
        inside.flat_map(|e| contents(&e.unwrap().path())).collect()
    } else {
        BTreeMap::from([(path.to_owned(), fs::read(path).unwrap())])
    }
}

/// Run on a case, with what is left in the folder.
fn run(verb: &str, case: &str, more: &[&str]) -> (Ran, Vec<String>) {
    let folder = empty();
    let input = fixture(&format!("broken/{case}"));
    let before = contents(Path::new(&input));
    let mut args = vec![verb, &input];
    args.extend(more);
    let ran = finish(limited(folder.path(), LIMIT, &args));
    assert!(contents(Path::new(&input)) == before, "{case}: {verb} changed its input");
    assert!(!ran.err.contains("panicked"), "{case}: {ran:#?}");
    (ran, names(folder.path()))
}

/// `None` when the command failed as it should, otherwise what is wrong.
fn complaint(verb: &str, case: &str, more: &[&str], message: &str) -> Option<String> {
    let (ran, left) = run(verb, case, more);
    let sound = ran.code == Some(1) && ran.err.starts_with("error: ") && ran.err.contains(message);
    let tidy = ran.out.is_empty() && left.is_empty();
    (!sound || !tidy).then(|| format!("{verb} {case}: wanted `{message}`\n{}left: {left:?}, {:?}", ran.err, ran.code))
}

fn expect_none(complaints: impl Iterator<Item = Option<String>>) {
    let complaints: Vec<String> = complaints.flatten().collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn the_tables_name_every_case() {
    let tables = ONLY_IN_QUANTIZE.iter().chain(ALREADY_IN_INSPECT).map(|(case, _)| *case);
    let mut listed: Vec<&str> = tables.chain(VALID.iter().copied()).collect();
    listed.sort_unstable();
    let mut found = names(Path::new(&fixture("broken")));
    found.retain(|name| name != "README.md");
    assert_eq!(listed, found);
}

#[test]
fn inspect_refuses_what_cannot_be_opened() {
    expect_none(ALREADY_IN_INSPECT.iter().map(|(case, message)| complaint("inspect", case, &[], message)));
}

#[test]
fn quantize_refuses_every_damaged_model() {
    let cases = ALREADY_IN_INSPECT.iter().chain(ONLY_IN_QUANTIZE);
    expect_none(cases.map(|(case, message)| complaint("quantize", case, &["--quiet"], message)));
}

#[test]
fn inspect_shows_what_only_lacks_sense() {
    for case in ONLY_IN_QUANTIZE.iter().map(|(case, _)| case).chain(VALID) {
        let (ran, left) = run("inspect", case, &[]);
        assert_eq!((ran.code, ran.err.as_str(), left.len()), (Some(0), "", 0), "{case}");
        assert!(ran.out.contains("bits per weight"), "{case}");
    }
}

#[test]
fn sound_models_are_quantized() {
    for case in VALID {
        let (ran, left) = run("quantize", case, &["--quiet"]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{case}");
        assert!(left.len() == 1 && left[0].ends_with("-Q4_K_M.gguf"), "{case}: {left:?}");
    }
}

#[test]
fn values_that_are_not_finite_are_kept_on_request() {
    for case in ["hf-tensor-nan", "hf-tensor-inf"] {
        for kind in ["f32", "f16", "bf16", "q8_0"] {
            let (ran, left) = run("quantize", case, &["--allow-non-finite", "--type", kind, "-o", "out.gguf"]);
            assert_eq!((ran.code, left.as_slice()), (Some(0), &["out.gguf".to_owned()][..]), "{case} {kind}: {ran:#?}");
        }
    }
}

#[test]
fn a_missing_architecture_is_not_blamed_on_a_file_that_is_not_there() {
    let (ran, _) = run("quantize", "gguf-no-architecture.gguf", &["--quiet"]);
    assert!(!ran.err.contains("config.json"), "{}", ran.err);
}
