//! Keys of the output against those that the base asks for.

use crate::conversion::{CALIBRATION_TOKENS, RECIPE};
use crate::gguf::{Metadata, Value};
use crate::sink::SOURCE_HASH;
use crate::source::BUILT;

/// Keys that depend on the formats and options of the run, not on the base,
/// or on where the base lies: `general.name` is its folder's.
const OF_THE_RUN: &[&str] = &[
    "general.file_type",
    "general.name",
    "quantize.imatrix.dataset",
    "quantize.imatrix.entries_count",
    "quantize.imatrix.chunks_count",
    CALIBRATION_TOKENS,
    RECIPE,
    BUILT,
    "tersor.version",
    SOURCE_HASH,
];

/// Files of other writers name these as they like.
fn for_people(key: &str) -> bool {
    key.starts_with("general.") && key != "general.architecture"
}

/// Add every difference; `hash` is that of the base as it is.
pub(super) fn compare(found: &Metadata, wanted: &Metadata, hash: &str, differences: &mut Vec<String>) {
    let ours = found.text("tersor.version") == Some(env!("CARGO_PKG_VERSION"));
    for (key, value) in wanted.iter() {
        if OF_THE_RUN.contains(&key) || !ours && (for_people(key) || key.starts_with("tersor.")) {
            continue;
        }
        match found.get(key) {
            Some(other) if other == value || !ours && same(other, value) => {}
            Some(other) if same(other, value) => {
                let (found, wanted) = (other.value_type().name(), value.value_type().name());
                differences.push(format!("`{key}`: {value} as {found}, tersor writes it as {wanted}"));
            }
            Some(other) => differences.push(format!("`{key}`: {other}, the base says {value}")),
            None => differences.push(format!("`{key}`: missing, the base says {value}")),
        }
    }
    if !ours {
        return;
    }
    for (key, value) in found.iter() {
        if wanted.get(key).is_none() && !OF_THE_RUN.contains(&key) {
            differences.push(format!("`{key}`: {value}, the base has no such key"));
        }
    }
    if let Some(stated) = found.text(SOURCE_HASH).filter(|stated| *stated != hash) {
        differences.push(format!("`{SOURCE_HASH}`: made from {stated}, the base is {hash}"));
    }
}

/// Numbers of the same value, perhaps in another integer type, as other writers have it.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_u64().is_some() && a.as_u64() == b.as_u64()
}
