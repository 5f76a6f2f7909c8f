//! The layout of a Hugging Face folder.

use super::{FileLayout, Layout, NO_DIGEST, SOURCE_HASH, partition};
use crate::error::Result;
use crate::plan::{Plan, TensorPlan};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The usual bound of a shard on the Hub.
const SHARD_BYTES: u64 = 5_000_000_000;
/// The header is padded with spaces so that data starts aligned, as the reference writer does.
const ALIGNMENT: usize = 8;

pub(super) fn layout(target: &Path, plan: &Plan, others: &[(String, Vec<u8>)], max: Option<u64>) -> Result<Layout> {
    let (files, places, digests) = Default::default();
    let mut layout = Layout { target: target.to_owned(), folder: true, files, places, digests };
    for (name, contents) in others {
        let file = FileLayout { path: target.join(name), head: contents.clone(), len: contents.len() as u64 };
        layout.files.push(file);
    }
    let sizes: Vec<u64> = plan.tensors.iter().map(|t| t.bytes()).collect();
    // The usual bound gives way to a larger tensor, one that was asked for does not.
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let reserve = header(&plan.tensors, &plan.history).0.len() as u64;
    let parts = partition(&sizes, reserve, Some(max.unwrap_or_else(|| SHARD_BYTES.max(largest + reserve))))?;
    let mut weight_map = Map::new();
    for (number, part) in parts.iter().enumerate() {
        let name = match parts.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let (head, digest) = header(&plan.tensors[part.clone()], &plan.history);
        let file = layout.files.len();
        let mut at = head.len() as u64;
        for t in &plan.tensors[part.clone()] {
            layout.places.push((file, at));
            at += t.bytes();
            weight_map.insert(t.name.clone(), name.as_str().into());
        }
        layout.digests.push((file, digest));
        layout.files.push(FileLayout { path: target.join(&name), head, len: at });
    }
    if parts.len() > 1 {
        let total: u64 = sizes.iter().sum();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        let head = serde_json::to_vec_pretty(&index).expect("a JSON value always prints");
        let path = target.join("model.safetensors.index.json");
        layout.files.push(FileLayout { len: head.len() as u64, head, path });
    }
    Ok(layout)
}

/// Length, JSON and padding; and where the digest's digits stand.
fn header(tensors: &[TensorPlan], history: &[(&'static str, String)]) -> (Vec<u8>, u64) {
    let mut table = Map::new();
    let mut facts = json!({ "format": "pt", "tersor.version": env!("CARGO_PKG_VERSION"), SOURCE_HASH: NO_DIGEST });
    for (key, text) in history {
        facts[*key] = text.as_str().into();
    }
    table.insert("__metadata__".into(), facts);
    let mut at = 0;
    for t in tensors {
        let end = at + t.bytes();
        let dtype = t.format.safetensors.expect("the resolver checks the container");
        let entry = json!({ "dtype": dtype, "shape": t.shape.dims(), "data_offsets": [at, end] });
        table.insert(t.name.clone(), entry);
        at = end;
    }
    let mut text = serde_json::to_vec(&Value::Object(table)).expect("a JSON value always prints");
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    let digits = NO_DIGEST.as_bytes();
    // The facts come first, so the first run of zeros is theirs.
    let digest = text.windows(digits.len()).position(|w| w == digits).expect("just written") as u64;
    let mut head = (text.len() as u64).to_le_bytes().to_vec();
    head.extend(text);
    (head, 8 + digest)
}
