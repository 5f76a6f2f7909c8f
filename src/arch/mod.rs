//! Families of models, as data: tensor names, roles, shapes, row order and metadata.
//!
//! A new family is a file and a row in [`ARCHITECTURES`].

mod config;
mod llama;
mod names;
mod qwen2;
mod rope;
mod settings;

pub use config::{Biases, architecture_of, from_config, to_config};
pub use names::{glob, layer_number, quantizable, role_of};
pub use rope::Scaling;
pub use settings::{Count, Settings, from_metadata, to_metadata};

use crate::error::{Error, Result};
use crate::tensor::{Shape, TensorInfo};
use std::fmt;

/// What a tensor is for; the vocabulary of file types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Token embedding.
    TokenEmbedding,
    /// Output head.
    Output,
    /// Query projection.
    AttnQ,
    /// Key projection.
    AttnK,
    /// Value projection.
    AttnV,
    /// Fused query, key and value projection.
    AttnQkv,
    /// Keys and values out of the latent that they share (multi-head latent attention).
    AttnKvB,
    /// Output projection of attention.
    AttnOutput,
    /// Gate projection of the feed-forward part.
    FfnGate,
    /// Up projection.
    FfnUp,
    /// Down projection.
    FfnDown,
    /// Scale or shift of a normalisation.
    Norm,
    /// Additive bias.
    Bias,
    /// Everything else.
    Other,
}

impl Role {
    /// The name in reports.
    pub fn name(self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    }
}

/// One family.
pub struct Architecture {
    /// `general.architecture`.
    pub gguf: &'static str,
    /// `architectures` and `model_type` of config.json; the first pair is what a converted folder gets.
    pub hf: &'static [(&'static str, &'static str)],
    /// Every tensor of the family.
    pub tensors: &'static [NameRule],
    /// Patterns of tensors that checkpoints carry and no loader needs.
    pub ignored: &'static [&'static str],
    /// Settings that must have one value, since GGUF assumes it.
    pub fixed: &'static [Fixed],
    /// What `sliding_window` means without `use_sliding_window`.
    pub window_unless_switched_off: bool,
    /// Biases of query, key and value are part of the family (qwen2), not a setting (llama's `attention_bias`).
    pub qkv_bias: bool,
}

/// A name in both worlds; `{}` stands for the layer number.
pub struct NameRule {
    /// In the Hugging Face checkpoint.
    pub hf: &'static str,
    /// In GGUF.
    pub gguf: &'static str,
    /// What it is for.
    pub role: Role,
    /// Its shape, slowest first.
    pub shape: &'static [Dim],
    /// Order of its rows.
    pub rows: RowOrder,
    /// When it must be there.
    pub need: Need,
}

/// The size of one dimension.
#[derive(Clone, Copy, Debug)]
pub enum Dim {
    /// One of the counts.
    Is(Count),
    /// Query heads times head size.
    Query,
    /// Key-value heads times head size.
    KeyValue,
}

/// How rows of a checkpoint become rows of GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// Unchanged.
    AsIs,
    /// Within each head, the two halves are interleaved: transformers rotates `(i, i + d/2)` pairs, ggml's "normal"
    /// rotary embedding `(2i, 2i + 1)`.
    Rotary,
}

/// When a tensor must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// In every model.
    Always,
    /// Where the model has it.
    Optional,
    /// Unless the embedding serves as output head; then it is left out even if stored.
    Untied,
}

/// A setting with one possible value; absent means that value.
pub struct Fixed {
    /// Key of config.json.
    pub key: &'static str,
    /// The value, as JSON.
    pub value: &'static str,
}

/// Every family that can be converted from a Hugging Face folder.
pub static ARCHITECTURES: &[&Architecture] = &[&llama::LLAMA, &qwen2::QWEN2];

impl Architecture {
    /// The rule and layer of a checkpoint's tensor.
    pub fn by_hf(&self, name: &str) -> Option<(&'static NameRule, Option<u32>)> {
        self.tensors.iter().find_map(|r| match_layer(r.hf, name).map(|l| (r, l)))
    }

    /// The rule and layer of a GGUF tensor.
    pub fn by_gguf(&self, name: &str) -> Option<(&'static NameRule, Option<u32>)> {
        self.tensors.iter().find_map(|r| match_layer(r.gguf, name).map(|l| (r, l)))
    }

    /// The family with this GGUF name.
    pub fn named(gguf: &str) -> Option<&'static Architecture> {
        ARCHITECTURES.iter().copied().find(|a| a.gguf == gguf)
    }
}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.gguf)
    }
}

impl NameRule {
    /// True when there is one per layer.
    pub fn per_layer(&self) -> bool {
        self.hf.contains("{}")
    }

    /// The shape in a model with these settings; `None` when it overflows.
    pub fn shape_in(&self, settings: &Settings) -> Option<Shape> {
        let size = |dim: &Dim| match dim {
            Dim::Is(count) => Some(settings[*count]),
            Dim::Query => settings[Count::Heads].checked_mul(settings[Count::HeadSize]),
            Dim::KeyValue => settings[Count::KvHeads].checked_mul(settings[Count::HeadSize]),
        };
        Shape::new(self.shape.iter().map(size).collect::<Option<_>>()?)
    }

    /// # Errors
    /// [`Error::Shape`] when `tensor` has another shape than in a model with these settings.
    pub fn check_shape(&self, tensor: &TensorInfo, settings: &Settings) -> Result<()> {
        let wanted = self.shape_in(settings);
        if wanted.as_ref() == Some(&tensor.shape) {
            return Ok(());
        }
        let wanted = wanted.map_or("a smaller one".into(), |s| s.to_string());
        Err(Error::Shape { tensor: tensor.name.clone(), found: tensor.shape.to_string(), wanted })
    }
}

/// A rule's name with the layer filled in.
pub fn with_layer(pattern: &str, layer: Option<u32>) -> String {
    layer.map_or_else(|| pattern.to_owned(), |l| pattern.replace("{}", &l.to_string()))
}

fn match_layer(pattern: &str, name: &str) -> Option<Option<u32>> {
    let Some((head, tail)) = pattern.split_once("{}") else { return (pattern == name).then_some(None) };
    let digits = name.strip_prefix(head)?.strip_suffix(tail)?;
    let canonical = digits == "0" || !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| canonical).map(Some)
}

/// A `.weight` matrix of every layer.
const fn layer(hf: &'static str, gguf: &'static str, role: Role, shape: &'static [Dim]) -> NameRule {
    NameRule { hf, gguf, role, shape, rows: RowOrder::AsIs, need: Need::Always }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_within_a_family() {
        for a in ARCHITECTURES {
            for (i, r) in a.tensors.iter().enumerate() {
                assert!(a.tensors[i + 1..].iter().all(|o| o.hf != r.hf && o.gguf != r.gguf), "{a:?}: {}", r.hf);
                assert_eq!(r.hf.contains("{}"), r.gguf.contains("{}"), "{}", r.hf);
            }
        }
    }

    #[test]
    fn layers_in_names() {
        let llama = ARCHITECTURES[0];
        let (rule, layer) = llama.by_hf("model.layers.17.mlp.down_proj.weight").unwrap();
        assert_eq!((with_layer(rule.gguf, layer).as_str(), rule.role), ("blk.17.ffn_down.weight", Role::FfnDown));
        assert!(llama.by_hf("model.layers.017.mlp.down_proj.weight").is_none());
        assert!(llama.by_hf("model.layers.+1.mlp.down_proj.weight").is_none());
        assert!(llama.by_hf("model.layers..mlp.down_proj.weight").is_none());
        assert_eq!(llama.by_gguf("blk.3.attn_q.weight").unwrap().1, Some(3));
    }
}
