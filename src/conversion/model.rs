//! What a mixture asks of the model: its family, counts, and the place of a tensor among its like.

use crate::arch::{Count, Role, Settings, role_of};
use crate::gguf::{Metadata, Value};
use std::collections::HashMap;

/// Families whose 80-layer model is of llama.cpp's type 70B; in `llama` it also needs grouped heads.
const LARGE: &[&str] = &["llama", "qwen2", "deci", "olmo"];
const LARGE_LAYERS: u64 = 80;

/// The facts.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// `general.architecture`.
    pub(super) family: String,
    /// Experts per layer; 0 in a dense model.
    pub(super) experts: u64,
    layers: u64,
    /// Of the first layer, as llama-quantize takes it where they differ.
    heads: u64,
    kv_heads: u64,
    /// For tensors that hold values and for down projections: which of them, in the order of the layers.
    places: HashMap<String, u64>,
    /// How many hold values.
    values: u64,
    downs: u64,
}

/// Tensors that are counted together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Values,
    Downs,
}

fn kind(role: Role) -> Option<Kind> {
    match role {
        Role::AttnV | Role::AttnQkv | Role::AttnKvB => Some(Kind::Values),
        Role::FfnDown => Some(Kind::Downs),
        _ => None,
    }
}

impl Model {
    /// The model of a checkpoint with these settings; `names` are those of its tensors in GGUF.
    pub(super) fn from_settings(settings: &Settings, names: impl Iterator<Item = String>) -> Model {
        let [layers, heads, kv_heads] = [Count::Layers, Count::Heads, Count::KvHeads].map(|c| settings[c]);
        let family = settings.architecture.gguf.to_owned();
        Model { family, layers, heads, kv_heads, ..Model::default() }.with_tensors(names)
    }

    /// The model of a GGUF file with these keys. Counts that it lacks are 0, and the layers then those that are there:
    /// no loader takes such a file, but it can be quantized.
    pub(super) fn from_metadata(metadata: &Metadata, names: impl Iterator<Item = String>) -> Model {
        let family = metadata.text("general.architecture").unwrap_or_default().to_owned();
        let number = |key: &str| match metadata.get(&format!("{family}.{key}"))? {
            Value::Array(each_layer) => each_layer.first()?.as_u64(),
            value => value.as_u64(),
        };
        let heads = number("attention.head_count").unwrap_or(0);
        let kv_heads = number("attention.head_count_kv").unwrap_or(heads);
        let experts = number("expert_count").unwrap_or(0);
        let layers = number("block_count");
        let mut model = Model { experts, heads, kv_heads, ..Model::default() }.with_tensors(names);
        model.layers = layers.unwrap_or(model.downs);
        model.family = family;
        model
    }

    fn with_tensors(mut self, names: impl Iterator<Item = String>) -> Model {
        let counted = |name: String| Some((block(&name), kind(role_of(&name))?, name));
        let mut names: Vec<_> = names.filter_map(counted).collect();
        names.sort_unstable_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
        for (_, kind, name) in names {
            let count = match kind {
                Kind::Values => &mut self.values,
                Kind::Downs => &mut self.downs,
            };
            self.places.insert(name, *count);
            *count += 1;
        }
        self
    }

    /// Query heads per key-value head; 0 where there is no such head.
    pub(super) fn gqa(&self) -> u64 {
        self.heads.checked_div(self.kv_heads).unwrap_or(0)
    }

    /// llama.cpp calls it a 70B model.
    pub(super) fn is_large(&self) -> bool {
        let grouped = self.family != "llama" || self.heads != self.kv_heads;
        self.layers == LARGE_LAYERS && grouped && LARGE.contains(&self.family.as_str())
    }

    /// Which tensor of its kind this is, and of how many. Down projections go by layers: a layer may have several, one
    /// for each expert, and then its number is in the name.
    pub(super) fn place(&self, role: Role, name: &str) -> (u64, u64) {
        let nth = self.places.get(name).copied().unwrap_or(0);
        match kind(role) {
            Some(Kind::Downs) if self.experts > 1 => (block(name).unwrap_or(nth), self.layers),
            Some(Kind::Downs) => (nth, self.layers),
            _ => (nth, self.values),
        }
    }
}

/// The number in `blk.N.`; other names come first in the order.
fn block(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}
