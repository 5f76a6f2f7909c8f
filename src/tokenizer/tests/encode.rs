use std::path::Path;

use serde_json::json;

use super::super::pre;
use super::super::pre_table::PRES;
use super::{added, byte_level, folder, read};
use crate::gguf::Metadata;
use crate::tokenizer::{Encoder, PROBES, first_difference, rebuild, reference};

const MERGES: &[(&str, &str)] = &[
    ("t", "h"),
    ("th", "e"),
    ("Ġ", "the"),
    ("i", "n"),
    ("Ġ", "Ġ"),
    ("1", "2"),
    ("12", "3"),
    ("e", "r"),
    ("'", "s"),
    ("Ġ", "a"),
    ("Ð", "°"),
    ("a", "a"),
    ("aa", "aa"),
    ("Ċ", "Ċ"),
    ("Ġ", "1"),
];

fn encoder(keys: &Metadata) -> Encoder<'_> {
    rebuild(Path::new("x.gguf"), keys).unwrap()
}

/// What stands in the keys alone splits and merges as the `tokenizers` crate does from tokenizer.json.
#[test]
fn rebuilt_agrees_with_the_reference_for_every_row() {
    for row in PRES {
        let mut file = byte_level(MERGES);
        let next = 256 + MERGES.len() as u32;
        // A token that no merge makes tells whether whole pieces are looked up.
        file["model"]["vocab"]["quick"] = next.into();
        file["added_tokens"] = json!([added(next + 1, "<|x|>", true), added(next + 2, "<|x|>y", false)]);
        file["pre_tokenizer"] = pre::to_json(row);
        file["model"]["ignore_merges"] = row.ignore_merges.into();
        let keys = read(&file, 300).unwrap().into_metadata();
        let dir = folder(&[("tokenizer.json", file.to_string().as_bytes())]);
        let (left, right) = (encoder(&keys), reference(dir.path()).unwrap().unwrap());
        let specials = left.special_tokens();
        assert_eq!(specials, ["<|x|>", "<|x|>y"]);
        assert_eq!(right.special_tokens(), specials);
        let embedded = ["quick", "<|x|>", "a<|x|>b <|x|>y<|x|>", "<|x|", " <|x|><|x|> "];
        let difference = first_difference(&left, &right, PROBES.iter().copied().chain(embedded)).unwrap();
        assert_eq!(difference, None, "{}", row.name);
    }
}

#[test]
fn a_difference_is_found() {
    let one = read(&byte_level(&[("a", "b")]), 258).unwrap().into_metadata();
    let two = read(&byte_level(&[("b", "a")]), 258).unwrap().into_metadata();
    let (one, two) = (encoder(&one), encoder(&two));
    let found = first_difference(&one, &two, ["x", "aba"].into_iter()).unwrap().unwrap();
    assert_eq!((found.text.as_str(), found.at), ("aba", 0));
    assert_eq!((found.left, found.right), (vec![256, 97], vec![97, 256]));
}

#[test]
fn ranks_come_before_places() {
    let keys = read(&byte_level(&[("b", "c"), ("a", "b"), ("a", "bc")]), 260).unwrap().into_metadata();
    assert_eq!(encoder(&keys).encode("abc").unwrap(), [258]);
    assert_eq!(encoder(&keys).encode("abab").unwrap(), [257, 257]);
}

#[test]
fn keys_that_do_not_fit_are_errors() {
    let path = Path::new("x.gguf");
    let good = read(&byte_level(&[("a", "b")]), 257).unwrap().into_metadata();
    let with = |key: &str, value: crate::gguf::Value| {
        let mut keys = good.clone();
        keys.set(key, value);
        rebuild(path, &keys).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(rebuild(path, &Metadata::default()).is_err());
    assert!(with("tokenizer.ggml.model", "bert".into()).contains("`bert`"));
    assert!(with("tokenizer.ggml.pre", "kimi-k2".into()).contains("`kimi-k2` is not known"));
    assert!(with("tokenizer.ggml.token_type", vec![1i32].into()).contains("1 values"));
    assert!(with("tokenizer.ggml.token_type", "x".into()).contains("token_type"));
    assert!(with("tokenizer.ggml.tokens", vec![1i32].into()).contains("tokens"));
    assert_eq!(with("tokenizer.ggml.merges", vec!["".to_owned(), " ".into(), "a".into(), "zz y".into()].into()), "");
    assert_eq!(with("tokenizer.ggml.bos_token_id", u32::MAX.into()), "");
}

/// Random bytes of text never make it panic, and every byte comes back.
#[test]
fn any_text_is_spelled_completely() {
    let keys = read(&byte_level(&[("a", "b"), ("Ġ", "Ġ")]), 258).unwrap().into_metadata();
    let encoder = encoder(&keys);
    let mut state = 0x2545_f491_4f6c_dd1du64;
    for len in 0..200 {
        let text: String = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let wide = (state >> 40) as u32 % 0x3000;
                char::from_u32(if state & 3 == 0 { wide } else { wide % 0x80 }).unwrap_or(' ')
            })
            .collect();
        let ids = encoder.encode(&text).unwrap();
        let bytes: usize = ids.iter().map(|id| if *id < 256 { 1 } else { 2 }).sum();
        assert_eq!(bytes, text.len());
    }
}

/// Loaders do not compose text, so a probe that is not composed would tell apart what is the same.
#[test]
fn probes_are_composed() {
    use tokenizers::{NormalizedString, Normalizer};
    for probe in PROBES {
        let mut text = NormalizedString::from(*probe);
        tokenizers::normalizers::NFC.normalize(&mut text).unwrap();
        assert_eq!(text.get(), *probe);
    }
}

/// Of special tokens that overlap the longer wins, wherever it stands.
#[test]
fn longer_special_tokens_win() {
    let mut file = byte_level(&[]);
    file["added_tokens"] = json!([added(256, "<a>", true), added(257, ">bcd", true), added(258, "<a", true)]);
    let keys = read(&file, 259).unwrap().into_metadata();
    assert_eq!(encoder(&keys).encode("<a>bcd").unwrap(), [258, 257]);
    assert_eq!(encoder(&keys).encode("<a>bc").unwrap(), [256, 98, 99]);
    assert_eq!(encoder(&keys).encode("x<a><a").unwrap(), [120, 256, 258]);
}
