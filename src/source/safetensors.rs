//! The safetensors header: u64 length, a JSON object of name -> dtype, shape and byte range, then the data.

use super::{DataFile, Table, found_in_json};
use crate::error::{Error, Result};
use crate::tensor::{Shape, TensorInfo};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tersor_kernels::Format;

/// The reference reader refuses longer headers too.
const MAX_HEADER: u64 = 100 << 20;

#[derive(serde::Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Entries in header order. A map type would drop duplicate names in silence.
struct Entries {
    tensors: Vec<(String, Entry)>,
    facts: HashMap<String, String>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let (mut tensors, mut facts) = (Vec::new(), HashMap::new());
                let mut seen = std::collections::HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(de::Error::custom(format_args!("a second `{name}`")));
                    }
                    if name == "__metadata__" {
                        facts = map.next_value()?;
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(Entries { tensors, facts })
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Read and check the header: every tensor inside the file, none overlapping, nothing between them.
pub(super) fn read_header(file: &DataFile) -> Result<Table> {
    let path = &file.path;
    let header = header_bytes(file)?;
    let data_start = 8 + header.len() as u64;
    let text = std::str::from_utf8(&header).map_err(|e| {
        Error::malformed(path, format!("header, byte {}", e.valid_up_to()), "bytes that are not UTF-8", "JSON")
    })?;
    let Entries { tensors: entries, facts } = serde_json::from_str(text).map_err(|e| {
        let place = format!("header, line {}, column {}", e.line(), e.column());
        Error::malformed(path, place, found_in_json(&e), "name -> dtype, shape, data_offsets")
    })?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let (begin, _) = entry.data_offsets;
        let info = check_entry(path, name, entry, file.len - data_start)?;
        tensors.push((info, begin));
    }
    tensors.sort_by_key(|(t, begin)| (*begin, t.bytes));
    let mut end = 0;
    for (t, begin) in &tensors {
        if *begin != end {
            let what = if *begin < end { "an overlap with the tensor before" } else { "a hole before it" };
            let place = format!("tensor `{}`: data_offsets", t.name);
            return Err(Error::malformed(path, place, format!("{what}, {begin}"), end.to_string()));
        }
        end += t.bytes;
    }
    if data_start + end != file.len {
        let found = format!("{} bytes after the last tensor", file.len - data_start - end);
        return Err(Error::malformed(path, "end of data", found, "none"));
    }
    for (_, begin) in &mut tensors {
        *begin += data_start;
    }
    Ok(Table { tensors, facts })
}

fn header_bytes(file: &DataFile) -> Result<Vec<u8>> {
    let path = &file.path;
    if file.len < 8 {
        return Err(Error::malformed(
            path,
            "header length",
            format!("a file of {} bytes", file.len),
            "at least 8 bytes",
        ));
    }
    let mut length = [0; 8];
    file.file.read_exact_at(&mut length, 0).map_err(Error::io("read", path))?;
    let length = u64::from_le_bytes(length);
    let room = file.len - 8;
    if length > room.min(MAX_HEADER) {
        let wanted = format!("at most {} (the file has {} bytes)", room.min(MAX_HEADER), file.len);
        return Err(Error::malformed(path, "header length", length.to_string(), wanted));
    }
    let mut header = vec![0; length as usize];
    file.file.read_exact_at(&mut header, 8).map_err(Error::io("read", path))?;
    Ok(header)
}

fn check_entry(path: &Path, name: String, entry: Entry, data: u64) -> Result<TensorInfo> {
    let wrong = |what: &str, found: String, wanted: String| {
        Error::malformed(path, format!("tensor `{name}`: {what}"), found, wanted)
    };
    let known = || {
        let names: Vec<_> = tersor_kernels::FORMATS.iter().filter_map(|f| f.safetensors).collect();
        names.join(", ")
    };
    let format =
        Format::by_safetensors(&entry.dtype).ok_or_else(|| wrong("dtype", format!("`{}`", entry.dtype), known()))?;
    let shape = Shape::new(entry.shape.clone())
        .ok_or_else(|| wrong("shape", format!("{:?}", entry.shape), "a product below 2^63".into()))?;
    let (begin, end) = entry.data_offsets;
    if begin > end || end > data {
        return Err(wrong("data_offsets", format!("{begin} to {end}"), format!("a range within {data} bytes")));
    }
    let bytes = format
        .size_of(shape.values())
        .ok_or_else(|| wrong("shape", shape.to_string(), "a size below 2^64 bytes".into()))?;
    if bytes != end - begin {
        let wanted = format!("{bytes}, the size of {shape} in {}", entry.dtype);
        return Err(wrong("data_offsets", format!("{} bytes", end - begin), wanted));
    }
    Ok(TensorInfo { name, shape, format, bytes })
}
