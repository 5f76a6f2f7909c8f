//! The files beside the weights against those that the base asks for.

use crate::error::{Error, Result};
use crate::sink::SOURCE_HASH;
use crate::source::{Source, read_bytes};
use serde_json::Value;
use std::path::Path;

/// Keys of config.json that follow from the run, not from the base.
const OF_THE_RUN: &[&str] = &["torch_dtype", "dtype"];

/// Add every difference; `hash` is that of the base as it is.
pub(super) fn compare(
    written: &Source,
    folder: &Path,
    wanted: &[(String, Vec<u8>)],
    hash: &str,
    differences: &mut Vec<String>,
) -> Result<()> {
    for (name, contents) in wanted {
        let found = match read_bytes(&folder.join(name)) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                differences.push(format!("`{name}`: missing"));
                continue;
            }
            other => other?,
        };
        let same = if name == "config.json" { settings(&found) == settings(contents) } else { found == *contents };
        if !same {
            differences.push(format!("`{name}`: differs from the base's"));
        }
    }
    if let Some(stated) = written.fact(SOURCE_HASH).filter(|stated| *stated != hash) {
        differences.push(format!("`{SOURCE_HASH}`: made from {stated}, the base is {hash}"));
    }
    Ok(())
}

/// config.json without what the run decides; anything that is no JSON object equals only itself.
fn settings(bytes: &[u8]) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(mut table)) => {
            OF_THE_RUN.iter().for_each(|key| drop(table.shift_remove(*key)));
            Value::Object(table)
        }
        _ => Value::String(String::from_utf8_lossy(bytes).into_owned()),
    }
}
