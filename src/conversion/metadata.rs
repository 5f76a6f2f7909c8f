//! The `general.` and `tersor.` keys of a GGUF file.

use super::card::Card;
use super::{Conversion, FileType, Target};
use crate::gguf::Metadata;
use crate::plan::Plan;
use crate::sink::{NO_DIGEST, SOURCE_HASH};
use crate::source::BUILT;
use std::path::Path;

/// The key of the conversion's one line.
pub(crate) const RECIPE: &str = "tersor.recipe";
/// Tokens that the statistics were collected on.
pub(crate) const CALIBRATION_TOKENS: &str = "tersor.calibration_tokens";

/// Version of the layout of K-quants that ggml checks.
const QUANTIZATION_VERSION: u32 = 2;

/// Facts about the model for people: name, size, and what its card says.
pub(super) fn general(architecture: &str, name: &str, folder: &Path, parameters: u64) -> Metadata {
    let mut m = Metadata::default();
    m.set("general.architecture", architecture);
    m.set("general.type", "model");
    m.set("general.name", name);
    m.set("general.size_label", size_label(parameters));
    let card = Card::read(folder);
    for (key, field) in [
        ("general.license", "license"),
        ("general.license.name", "license_name"),
        ("general.license.link", "license_link"),
    ] {
        if let Some(value) = card.text(field) {
            m.set(key, value);
        }
    }
    let bases = card.list("base_model");
    if !bases.is_empty() {
        m.set("general.base_model.count", bases.len() as u32);
    }
    for (i, base) in bases.iter().enumerate() {
        let key = |name: &str| format!("general.base_model.{i}.{name}");
        match base.split_once('/') {
            Some((organization, name)) => {
                m.set(key("name"), name);
                m.set(key("organization"), organization);
                m.set(key("repo_url"), format!("https://huggingface.co/{base}"));
            }
            None => m.set(key("name"), base.as_str()),
        }
    }
    for (key, values) in [("general.tags", card.list("tags")), ("general.languages", card.list("language"))] {
        if !values.is_empty() {
            m.set(key, values);
        }
    }
    m
}

/// Where the file has them, set the facts that depend on the number of values.
pub(super) fn correct_size(m: &mut Metadata, parameters: u64) {
    const LABEL: &str = "general.size_label";
    const PARAMETERS: &str = "general.parameter_count";
    if m.get(LABEL).is_some() {
        m.set(LABEL, size_label(parameters));
    }
    if m.get(PARAMETERS).is_some() {
        m.set(PARAMETERS, parameters);
    }
}

/// `135M`, `1.5B`: at least two digits, as llama.cpp's names have it.
fn size_label(parameters: u64) -> String {
    let (scale, suffix) = match parameters {
        1_000_000_000_000.. => (1e12, "T"),
        1_000_000_000.. => (1e9, "B"),
        1_000_000.. => (1e6, "M"),
        _ => (1e3, "K"),
    };
    let scaled = parameters as f64 / scale;
    if scaled.round() < 10.0 { format!("{scaled:.1}{suffix}") } else { format!("{scaled:.0}{suffix}") }
}

/// What the file is made of and how: file type, versions, conversion, room for the source's hash.
pub(super) fn set_provenance(m: &mut Metadata, conversion: &Conversion, plan: &Plan) {
    let known = |name: &str| FileType::find(name).map(|t| t.id);
    let id = match conversion.target {
        Target::Type(t) => Some(t.id),
        Target::Float(f) => known(f.name),
        Target::Keep if m.get("general.file_type").is_some() && plan.tensors.iter().all(|t| t.is_copy()) => None,
        Target::Keep => plan.formats().first().and_then(|(f, ..)| known(f.name)),
    };
    if let Some(id) = id {
        m.set("general.file_type", id);
    }
    m.set("general.quantization_version", QUANTIZATION_VERSION);
    if let Some(statistics) = &conversion.importance {
        if let Some(dataset) = statistics.datasets.first() {
            m.set("quantize.imatrix.dataset", dataset.as_str());
        }
        m.set("quantize.imatrix.entries_count", statistics.entries.len() as u32);
        m.set("quantize.imatrix.chunks_count", statistics.chunks);
        if statistics.tokens() > 0 {
            m.set(CALIBRATION_TOKENS, statistics.tokens());
        }
    }
    m.set("tersor.version", env!("CARGO_PKG_VERSION"));
    m.set(RECIPE, conversion.provenance());
    m.retain(|key| key != BUILT);
    for (key, text) in &plan.history {
        m.set(*key, text.as_str());
    }
    m.set(SOURCE_HASH, NO_DIGEST);
}

/// What the user sets has the last word.
pub(super) fn apply_overrides(m: &mut Metadata, conversion: &Conversion) {
    for o in &conversion.overrides {
        o.apply(m);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_labels() {
        for (n, label) in [
            (134_515_008, "135M"),
            (1_543_714_304, "1.5B"),
            (8_030_261_248, "8.0B"),
            (70_553_706_496, "71B"),
            (3_408_128, "3.4M"),
            (999_700, "1000K"),
        ] {
            assert_eq!(size_label(n), label);
        }
    }
}
