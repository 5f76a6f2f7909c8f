//! Choices of formats for whole models, from shapes alone.

mod fallback;
mod presets;

use super::choose::{Candidate, decide};
use super::model::Model;
use super::{Conversion, FileType, Target};
use crate::arch::{Role, role_of};
use crate::error::Result;
use crate::gguf::Metadata;
use crate::plan::{Container, Why};
use crate::tensor::Shape;
use tersor_kernels::Format;

/// A model by its numbers, with the tensors that they make.
#[derive(Clone, Copy)]
struct Sizes {
    family: &'static str,
    layers: u64,
    hidden: u64,
    ffn: u64,
    heads: u64,
    kv_heads: u64,
    vocab: u64,
    experts: u64,
    tied: bool,
    /// Queries, keys and values in one matrix, and no gate, as in Falcon.
    fused: bool,
}

const LLAMA_3_8B: Sizes = Sizes {
    family: "llama",
    layers: 32,
    hidden: 4096,
    ffn: 14336,
    heads: 32,
    kv_heads: 8,
    vocab: 128_256,
    experts: 0,
    tied: false,
    fused: false,
};
const LLAMA_3_70B: Sizes = Sizes { layers: 80, hidden: 8192, ffn: 28672, heads: 64, ..LLAMA_3_8B };
const LLAMA_1_65B: Sizes = Sizes { kv_heads: 64, ..LLAMA_3_70B };
const MIXTRAL: Sizes = Sizes { vocab: 32_000, experts: 8, ..LLAMA_3_8B };
const FALCON: Sizes = Sizes {
    family: "falcon",
    hidden: 4544,
    ffn: 18176,
    heads: 71,
    kv_heads: 1,
    vocab: 65_024,
    fused: true,
    ..LLAMA_3_8B
};
const SMOLLM2_135M: Sizes =
    Sizes { layers: 30, hidden: 576, ffn: 1536, heads: 9, kv_heads: 3, vocab: 49_152, tied: true, ..LLAMA_3_8B };

impl Sizes {
    fn metadata(&self) -> Metadata {
        let mut m = Metadata::default();
        m.set("general.architecture", self.family);
        let counts = [
            ("block_count", self.layers),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("expert_count", self.experts),
        ];
        for (key, count) in counts.into_iter().filter(|(_, n)| *n > 0) {
            m.set(format!("{}.{key}", self.family), count as u32);
        }
        m
    }

    fn tensors(&self) -> Vec<(String, Shape)> {
        let (hidden, ffn, kv) = (self.hidden, self.ffn, self.hidden / self.heads * self.kv_heads);
        let attention: &[(&str, &[u64])] = match self.fused {
            true => &[("attn_qkv", &[hidden + 2 * kv, hidden])],
            false => &[("attn_q", &[hidden, hidden]), ("attn_k", &[kv, hidden]), ("attn_v", &[kv, hidden])],
        };
        let forward = |name, rows, cols| match self.experts {
            0 => (name, vec![rows, cols]),
            n => (name, vec![n, rows, cols]),
        };
        let mut forwards = vec![forward("ffn_up", ffn, hidden), forward("ffn_down", hidden, ffn)];
        if !self.fused {
            forwards.push(forward("ffn_gate", ffn, hidden));
        }
        let experts = if self.experts > 0 { "_exps" } else { "" };
        let mut all = vec![("token_embd.weight".to_owned(), vec![self.vocab, hidden])];
        for layer in 0..self.layers {
            let mut add = |name: &str, dims: &[u64]| all.push((format!("blk.{layer}.{name}.weight"), dims.to_vec()));
            attention.iter().for_each(|(name, dims)| add(name, dims));
            add("attn_output", &[hidden, hidden]);
            add("attn_norm", &[hidden]);
            add("ffn_norm", &[hidden]);
            forwards.iter().for_each(|(name, dims)| add(&format!("{name}{experts}"), dims));
        }
        all.push(("output_norm.weight".into(), vec![hidden]));
        if !self.tied {
            all.push(("output.weight".into(), vec![self.vocab, hidden]));
        }
        all.into_iter().map(|(name, dims)| (name, Shape::new(dims).unwrap())).collect()
    }
}

/// A tensor and what was chosen for it.
struct Choice {
    name: String,
    role: Role,
    bytes: u64,
    format: &'static Format,
    why: Why,
}

fn conversion(file_type: &str) -> Conversion {
    Conversion::new(Container::Gguf, Target::Type(FileType::by_name(file_type).unwrap()))
}

/// Every tensor's format, for tensors stored as bf16 in a Hugging Face folder.
fn decide_all(metadata: &Metadata, tensors: &[(String, Shape)], conversion: &Conversion) -> Result<Vec<Choice>> {
    let model = Model::from_metadata(metadata, tensors.iter().map(|(name, _)| name.clone()));
    let tied = tensors.iter().all(|(name, _)| name != "output.weight");
    let decide = |(name, shape): &(String, Shape)| {
        let role = role_of(name);
        let tied = tied && role == Role::TokenEmbedding;
        let candidate = Candidate {
            name,
            names: &[name],
            role: if tied { Role::Output } else { role },
            tied,
            shape,
            stored: Format::by_name("bf16").unwrap(),
            model: &model,
            imatrix: conversion.importance.is_some(),
            from_gguf: false,
        };
        let (format, why) = decide(conversion, &candidate)?;
        let bytes = format.size_of(shape.values()).unwrap();
        Ok(Choice { name: name.clone(), role, bytes, format, why })
    };
    tensors.iter().map(decide).collect()
}

fn choices(sizes: &Sizes, conversion: &Conversion) -> Vec<Choice> {
    decide_all(&sizes.metadata(), &sizes.tensors(), conversion).unwrap()
}

/// How many tensors of the role have the format.
fn count(choices: &[Choice], role: Role, format: &str) -> usize {
    choices.iter().filter(|c| c.role == role && c.format.name == format).count()
}
