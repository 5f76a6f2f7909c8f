//! `tersor diff` as a whole command.

use crate::support::{at, empty, fixture, json, tersor_in};

#[test]
fn containers_are_told_apart_from_values() {
    let folder = empty();
    let model = fixture("tiny-llama");
    tersor_in(&folder, &["convert", &model, "-qo", "same.gguf"]).exits(0);
    // Rows that lie otherwise, under other names, in another container.
    let same = tersor_in(&folder, &["diff", &model, "same.gguf", "-q"]).exits(0);
    assert!(same.out.contains("29 tensors alike, "), "{}", same.out);
    let found = json(&tersor_in(&folder, &["diff", &model, "same.gguf", "-q", "--json"]).exits(0));
    assert_eq!(found["tensors"].as_array().unwrap().len(), 38);
    assert!(found["tensors"].as_array().unwrap().iter().all(|pair| pair["relative_rmse"] == 0.0), "{found}");
    assert_eq!(found["alone"], serde_json::json!([[], []]));
}

#[test]
fn what_quantizing_and_pruning_cost_is_told_by_tensor() {
    let folder = empty();
    let model = fixture("tiny-llama");
    tersor_in(&folder, &["quantize", &model, "-qt", "q4_0", "-o", "q.gguf"]).exits(0);
    let prune = ["prune", &model, "--method", "magnitude", "--sparsity", "0.5", "-qo", "sparse"];
    tersor_in(&folder, &prune).exits(0);
    tersor_in(&folder, &["prune", &model, "--method", "depth", "--drop", "1-2", "-qo", "shallow"]).exits(0);
    let diff = |other: &str| json(&tersor_in(&folder, &["diff", &model, other, "-q", "--json"]).exits(0));
    let of = |found: &serde_json::Value, name: &str| {
        let mut pairs = found["tensors"].as_array().unwrap().iter();
        pairs.find(|pair| pair["name"] == name).unwrap().clone()
    };
    let quantized = of(&diff("q.gguf"), "blk.1.attn_q.weight");
    assert_eq!(quantized["formats"], serde_json::json!(["bf16", "q4_0"]));
    let error = quantized["relative_rmse"].as_f64().unwrap();
    assert!((0.05..0.15).contains(&error), "{error}");
    let sparse = of(&diff("sparse"), "blk.1.attn_q.weight");
    assert_eq!(sparse["zeros"][1].as_f64().unwrap(), 0.5);
    let shallow = diff("shallow");
    assert_eq!(shallow["alone"][0].as_array().unwrap().len(), 18);
    assert_eq!(shallow["alone"][1].as_array().unwrap().len(), 0);
    let other = tersor_in(&folder, &["diff", &model, &at(&folder, "nowhere")]);
    other.fails(1, "nowhere");
}
