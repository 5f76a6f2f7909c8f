//! The layout of GGUF files.

use super::{FileLayout, Layout, SOURCE_HASH, partition};
use crate::error::{Error, Result};
use crate::gguf::{DEFAULT_ALIGNMENT, Metadata, TensorEntry, align_up, encode_header, value_offset};
use crate::plan::Plan;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// A string value's length stands before its text.
const STRING_LENGTH: u64 = 8;

pub(super) fn layout(target: &Path, plan: &Plan, metadata: &Metadata, max: Option<u64>) -> Result<Layout> {
    let entries: Vec<TensorEntry<'_>> = plan
        .tensors
        .iter()
        .map(|t| TensorEntry { name: &t.name, dims: t.shape.dims(), format: t.format, bytes: t.bytes() })
        .collect();
    let too_large = || Error::Usage {
        problem: "the output is larger than 2^63 bytes".into(),
        hint: "check the shapes of the source".into(),
    };
    let mut sizes = Vec::with_capacity(entries.len());
    for e in &entries {
        sizes.push(align_up(e.bytes, DEFAULT_ALIGNMENT).ok_or_else(too_large)?);
    }
    let total = sizes.iter().try_fold(0u64, |sum, s| sum.checked_add(*s)).filter(|sum| *sum < 1 << 63);
    total.ok_or_else(too_large)?;
    // Only the first file holds the metadata, but a bound that is good for it is good for all.
    let reserve = |max: u64| {
        let head = encode_header(metadata, &entries, DEFAULT_ALIGNMENT).0.len() as u64 + 256;
        if total.unwrap_or(u64::MAX).saturating_add(head) <= max { (0, None) } else { (head, Some(max)) }
    };
    let (reserve, max) = max.map_or((0, None), reserve);
    let parts = partition(&sizes, reserve, max)?;
    if parts.len() > usize::from(u16::MAX) {
        return Err(Error::Usage {
            problem: format!("{} files, a split has at most {}", parts.len(), u16::MAX),
            hint: "pass a larger `--split-max-size`".into(),
        });
    }
    let mut layout =
        Layout { target: target.to_owned(), folder: false, files: Vec::new(), places: Vec::new(), digests: Vec::new() };
    for (number, part) in parts.iter().enumerate() {
        let keys = keys_of_part(metadata, number, parts.len(), entries.len());
        if let Some(at) = value_offset(&keys, SOURCE_HASH) {
            layout.digests.push((number, at + STRING_LENGTH));
        }
        let (head, offsets) = encode_header(&keys, &entries[part.clone()], DEFAULT_ALIGNMENT);
        let start = head.len() as u64;
        layout.places.extend(offsets.iter().map(|o| (number, start + o)));
        let len = start + sizes[part.clone()].iter().sum::<u64>();
        layout.files.push(FileLayout { path: split_path(target, number, parts.len()), head, len });
    }
    layout.target = layout.files[0].path.clone();
    Ok(layout)
}

/// The keys of one file: all of them in the first, those of the split in each.
fn keys_of_part(metadata: &Metadata, number: usize, parts: usize, tensors: usize) -> Cow<'_, Metadata> {
    if parts == 1 {
        return Cow::Borrowed(metadata);
    }
    let mut keys = if number == 0 { metadata.clone() } else { Metadata::default() };
    keys.set("split.no", number as u16);
    keys.set("split.count", parts as u16);
    keys.set("split.tensors.count", tensors as i32);
    Cow::Owned(keys)
}

/// llama.cpp's name of a split: `NAME-00001-of-00003.gguf`.
fn split_path(target: &Path, number: usize, count: usize) -> PathBuf {
    if count == 1 {
        return target.to_owned();
    }
    let stem = target.file_stem().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", number + 1))
}
