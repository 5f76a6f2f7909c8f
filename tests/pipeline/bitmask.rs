//! Folders with zeros as bits.

use crate::pruning::{TINY, cols, is_matrix, prune, tensors, values};
use crate::support::gguf::Gguf;
use crate::support::safetensors::{self, Tensor};
use crate::support::{at, empty, fixture, tersor_in};
use serde_json::Value;
use std::fs;

/// What is stored sparse is smaller, and expands to the bytes of the dense folder or of q8_0.
#[test]
fn sparse_folders_expand_to_dense_ones() {
    let (model, folder) = (fixture(TINY), empty());
    let method = ["--method", "magnitude", "--sparsity", "0.5"];
    prune(&folder, &model, &method);
    fs::rename(at(&folder, "out"), at(&folder, "dense")).unwrap();
    let report = prune(&folder, &model, &[&method[..], &["--store", "bitmask"]].concat());
    let found: u64 = report["tensors"].as_array().unwrap().iter().map(|t| t["zeros"].as_u64().unwrap()).sum();
    assert_eq!(found, report["zeros_asked"].as_u64().unwrap());
    let (dense, sparse) = (tensors(at(&folder, "dense")), tensors(at(&folder, "out")));
    for (name, t) in dense.iter().filter(|(name, _)| is_matrix(name)) {
        let part = |part: &str| &sparse[&name.replace("weight", part)];
        let places: Vec<usize> = (0..values(t)).filter(|i| t.bytes[2 * i..][..2] != [0, 0]).collect();
        let kept: Vec<u8> = places.iter().flat_map(|i| t.bytes[2 * i..][..2].to_vec()).collect();
        assert!(part("compressed").bytes == kept && part("compressed").shape == [places.len() as u64], "{name}");
        let bits = &part("bitmask").bytes;
        assert!((0..values(t)).all(|i| bits[i / 8] >> (i % 8) & 1 == u8::from(places.binary_search(&i).is_ok())));
        let numbers = |t: &Tensor| -> Vec<u64> {
            t.bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let starts = (0..t.shape[0] as usize).map(|row| places.partition_point(|i| *i < row * cols(t)) as u64);
        assert_eq!(numbers(part("row_offsets")), starts.collect::<Vec<_>>(), "{name}");
        assert_eq!(numbers(part("shape")), t.shape, "{name}");
    }
    let weights: usize = sparse.values().map(|t| t.bytes.len()).sum();
    let all: usize = dense.values().map(|t| t.bytes.len()).sum();
    assert!(weights < all * 4 / 5, "{weights} of {all}");
    tersor_in(&folder, &["convert", "out", "--to", "safetensors", "-qo", "back"]).exits(0);
    assert!(tensors(at(&folder, "back")) == dense);
    for (out, from) in [("a.gguf", "dense"), ("b.gguf", "out")] {
        tersor_in(&folder, &["quantize", from, "-qt", "q8_0", "-o", out]).exits(0);
    }
    let [from_dense, from_sparse] = ["a.gguf", "b.gguf"].map(|name| Gguf::read(at(&folder, name)));
    assert_eq!(from_dense.tensors, from_sparse.tensors);
    // Codes of eight bits.
    prune(&folder, &model, &[&method[..], &["--store", "bitmask", "-t", "q8_0"]].concat());
    tersor_in(&folder, &["quantize", "out", "-qt", "q8_0", "-o", "c.gguf", "--allow-requantize"]).exits(0);
    let from_int8 = Gguf::read(at(&folder, "c.gguf"));
    assert_eq!(from_dense.tensors, from_int8.tensors);
    // It is run without being expanded, and computes the same.
    tersor_in(&folder, &["convert", "out", "-qo", "d.gguf"]).exits(0);
    let text = fixture("text/train.txt");
    let [sparse, dense] = ["out", "d.gguf"].map(|model| {
        let ran =
            tersor_in(&folder, &["eval", model, "--text", &text, "--ctx", "128", "--chunks", "2", "-q", "--json"]);
        serde_json::from_str::<Value>(&ran.exits(0).out).unwrap()["perplexity"].clone()
    });
    assert!(sparse == dense && sparse["value"].is_f64(), "{sparse} {dense}");
    tersor_in(&folder, &["inspect", "out", "--sparsity"]).exits(0);
}

/// Every number in the layout is held against the others.
#[test]
fn damaged_sparse_folders_are_refused() {
    let folder = empty();
    let options = ["--method", "magnitude", "--sparsity", "0.5", "--store", "bitmask"];
    prune(&folder, &fixture(TINY), &options);
    let path = at(&folder, "out/model.safetensors");
    let good = safetensors::read(&path);
    let module = "model.layers.1.mlp.up_proj";
    type Damage = fn(&mut Tensor);
    let cases: [(&str, Damage, &str); 7] = [
        ("bitmask", |t| t.bytes[5] ^= 1, "row 0: found"),
        ("bitmask", |t| t.shape = vec![t.bytes.len() as u64, 1], "a bit for each value"),
        ("row_offsets", |t| t.bytes[8] ^= 1, "row 0: found"),
        ("row_offsets", |t| t.bytes[15] = 0x80, "none below 0"),
        ("row_offsets", |t| t.bytes[14] = 1, "where each row's values begin"),
        ("shape", |t| t.bytes[7] = 0x40, "a bit for each value"),
        ("shape", |t| t.bytes.fill(0), "rows and columns"),
    ];
    for (part, damage, message) in cases {
        let mut tensors = good.clone();
        damage(tensors.iter_mut().find(|t| t.name == format!("{module}.{part}")).unwrap());
        safetensors::write(&path, &tensors);
        let ran = tersor_in(&folder, &["convert", "out", "-qo", "x.gguf", "--force"]);
        assert!(ran.code == Some(1) && ran.err.contains(message), "{part}: no `{message}` in {ran:#?}");
    }
    let without: Vec<Tensor> = good.into_iter().filter(|t| t.name != format!("{module}.compressed")).collect();
    safetensors::write(&path, &without);
    tersor_in(&folder, &["convert", "out", "-qo", "x.gguf"]).fails(1, "up_proj.compressed");
}
