//! The numbers that make a model of a family, and their GGUF keys.

use super::{Architecture, Scaling, rope};
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use std::ops::{Index, IndexMut};
use std::path::Path;

/// A whole number of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Blocks.
    Layers,
    /// Values per token between blocks.
    Hidden,
    /// Values between the feed-forward projections.
    Ffn,
    /// Query heads.
    Heads,
    /// Key and value heads.
    KvHeads,
    /// Values per head.
    HeadSize,
    /// Longest sequence.
    Context,
    /// Rows of the embedding.
    Vocab,
}

/// The settings of one model.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The family.
    pub architecture: &'static Architecture,
    counts: [u64; COUNTS.len()],
    /// Added to the mean square in RMS normalisation.
    pub norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Their stretching.
    pub scaling: Scaling,
    /// The embedding serves as output head.
    pub tied: bool,
}

/// One row: the count, its names, and the largest value that is not absurd.
pub(super) struct CountRow {
    pub(super) count: Count,
    pub(super) hf: &'static str,
    pub(super) gguf: &'static str,
    pub(super) max: u64,
}

const fn row(count: Count, hf: &'static str, gguf: &'static str, max: u64) -> CountRow {
    CountRow { count, hf, gguf, max }
}

/// In the order of [`Count`]. The largest published models stay below these bounds by a factor of ten and more.
pub(super) const COUNTS: [CountRow; 8] = [
    row(Count::Layers, "num_hidden_layers", "block_count", 10_000),
    row(Count::Hidden, "hidden_size", "embedding_length", 1 << 20),
    row(Count::Ffn, "intermediate_size", "feed_forward_length", 1 << 22),
    row(Count::Heads, "num_attention_heads", "attention.head_count", 1 << 14),
    row(Count::KvHeads, "num_key_value_heads", "attention.head_count_kv", 1 << 14),
    row(Count::HeadSize, "head_dim", "attention.key_length", 1 << 14),
    row(Count::Context, "max_position_embeddings", "context_length", 1 << 30),
    row(Count::Vocab, "vocab_size", "vocab_size", 1 << 26),
];

impl Count {
    /// Its key in config.json, and in GGUF after the family's name and a dot.
    pub fn keys(self) -> (&'static str, &'static str) {
        let row = &COUNTS[self as usize];
        (row.hf, row.gguf)
    }
}

impl Index<Count> for Settings {
    type Output = u64;
    fn index(&self, count: Count) -> &u64 {
        &self.counts[count as usize]
    }
}

impl IndexMut<Count> for Settings {
    fn index_mut(&mut self, count: Count) -> &mut u64 {
        &mut self.counts[count as usize]
    }
}

impl Settings {
    /// All counts 0, to be filled in.
    pub(super) fn empty(architecture: &'static Architecture) -> Settings {
        let counts = [0; COUNTS.len()];
        Settings { architecture, counts, norm_eps: 0.0, rope_theta: 10_000.0, scaling: Scaling::None, tied: false }
    }

    /// Heads divide into groups, and their size into pairs: otherwise the key, what it is, and what it should be.
    pub(super) fn check_heads(&self) -> Result<(), (&'static str, String, String)> {
        let [heads, groups, size] = [Count::Heads, Count::KvHeads, Count::HeadSize].map(|c| self[c]);
        if !heads.is_multiple_of(groups) {
            let wanted = format!("a divisor of the {heads} query heads");
            return Err(("`num_key_value_heads`", groups.to_string(), wanted));
        }
        if size < 2 || !size.is_multiple_of(2) {
            let wanted = "an even number: rotary embedding turns pairs".to_owned();
            return Err(("`head_dim`", size.to_string(), wanted));
        }
        Ok(())
    }

    /// Radians per position by which rotary embedding turns each pair (i, i + d/2) of a head, and the factor of the turned
    /// values.
    pub fn rope_frequencies(&self) -> (Vec<f64>, f64) {
        rope::frequencies(self)
    }

    /// Values of `rope_freqs.weight`, where the scaling needs that tensor.
    pub fn rope_divisors(&self) -> Option<Vec<f32>> {
        rope::divisors(self)
    }
}

/// The keys of the family that a loader needs.
pub fn to_metadata(settings: &Settings) -> Metadata {
    let arch = settings.architecture.gguf;
    let mut metadata = Metadata::default();
    let usual_size = settings[Count::HeadSize] * settings[Count::Heads] == settings[Count::Hidden];
    for r in &COUNTS {
        if r.count != Count::HeadSize || !usual_size {
            metadata.set(format!("{arch}.{}", r.gguf), settings[r.count] as u32);
        }
    }
    if !usual_size {
        metadata.set(format!("{arch}.attention.value_length"), settings[Count::HeadSize] as u32);
    }
    metadata.set(format!("{arch}.attention.layer_norm_rms_epsilon"), settings.norm_eps as f32);
    metadata.set(format!("{arch}.rope.freq_base"), settings.rope_theta as f32);
    metadata.set(format!("{arch}.rope.dimension_count"), settings[Count::HeadSize] as u32);
    rope::to_metadata(&settings.scaling, arch, &mut metadata);
    metadata
}

/// The settings behind the keys of a GGUF file. `rows` are those of its embedding, `tied` is whether it lacks an output
/// head, `divisors` its `rope_freqs.weight`.
///
/// # Errors
/// [`Error::UnknownArchitecture`] for a family without a row, [`Error::MissingKey`], [`Error::Inexpressible`].
pub fn from_metadata(
    path: &Path,
    metadata: &Metadata,
    rows: u64,
    tied: bool,
    divisors: Option<&[f32]>,
) -> Result<Settings> {
    let name = metadata.text("general.architecture").ok_or_else(|| missing(path, "general.architecture"))?;
    let architecture = Architecture::named(name).ok_or_else(|| Error::UnknownArchitecture {
        path: path.to_owned(),
        found: name.to_owned(),
        known: super::ARCHITECTURES.iter().map(|a| format!("`{}`", a.gguf)).collect::<Vec<_>>().join(", "),
    })?;
    let mut settings = Settings::empty(architecture);
    for r in &COUNTS {
        let key = format!("{name}.{}", r.gguf);
        if let Some(other) = metadata.get(&key).filter(|v| v.as_u64().is_none()) {
            return Err(Error::malformed(path, format!("`{key}`"), other.to_string(), "one whole number"));
        }
        let value = match (metadata.count(&key), r.count) {
            (Some(n), _) if n > 0 && n <= r.max => n,
            (Some(n), _) => {
                return Err(Error::malformed(path, format!("`{key}`"), n.to_string(), format!("1 to {}", r.max)));
            }
            (None, Count::KvHeads) => settings[Count::Heads],
            (None, Count::HeadSize) => settings[Count::Hidden] / settings[Count::Heads],
            (None, Count::Vocab) => rows,
            (None, _) => return Err(missing(path, &key)),
        };
        settings[r.count] = value;
    }
    settings.check_heads().map_err(|(key, found, wanted)| Error::malformed(path, key, found, wanted))?;
    let eps = format!("{name}.attention.layer_norm_rms_epsilon");
    settings.norm_eps = metadata.real(&eps).ok_or_else(|| missing(path, &eps))?;
    settings.rope_theta = metadata.real(&format!("{name}.rope.freq_base")).unwrap_or(10_000.0);
    let scaling = rope::from_metadata(metadata, name, divisors.map(|d| (d, settings.rope_theta)));
    settings.scaling = scaling.ok_or_else(|| Error::Inexpressible {
        path: path.to_owned(),
        key: format!("{name}.rope.scaling"),
        found: "a scaling without a known form".into(),
        wanted: "none, linear, yarn or llama3".into(),
        architecture: architecture.gguf,
    })?;
    settings.tied = tied;
    Ok(settings)
}

fn missing(path: &Path, key: &str) -> Error {
    Error::MissingKey { path: path.to_owned(), key: key.to_owned() }
}
