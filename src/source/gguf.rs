//! GGUF files, alone or split (`NAME-00001-of-00003.gguf`).

use super::{DataFile, Origin, Source, Table};
use crate::error::{Error, Result};
use crate::gguf::{Header, read_header};
use crate::tensor::{Shape, TensorInfo};
use std::path::{Path, PathBuf};

/// Keys that describe the split, not the model.
const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";

/// Open the file, and its siblings when it is one of a split.
pub(super) fn open(path: &Path) -> Result<Source> {
    let (first, header) = read(path)?;
    let count = header.metadata.count(SPLIT_COUNT).unwrap_or(0);
    if count <= 1 {
        return assemble(path, vec![(first, header)]);
    }
    let siblings = siblings(path, count)?;
    let mut files = Vec::new();
    for (number, sibling) in siblings.iter().enumerate() {
        if !sibling.exists() {
            let found = format!("no `{}`", sibling.file_name().unwrap_or_default().to_string_lossy());
            return Err(Error::malformed(
                path,
                format!("`{SPLIT_COUNT}` is {count}"),
                found,
                "all parts in one folder",
            ));
        }
        let (file, header) = read(sibling)?;
        for (key, wanted) in [(SPLIT_NO, number as u64), (SPLIT_COUNT, count)] {
            let found = header.metadata.count(key);
            if found != Some(wanted) {
                let found = found.map_or("nothing".into(), |n| n.to_string());
                return Err(Error::malformed(sibling, format!("`{key}`"), found, wanted.to_string()));
            }
        }
        files.push((file, header));
    }
    let total: u64 = files.iter().map(|(_, h)| h.tensors.len() as u64).sum();
    let stated = files[0].1.metadata.count(SPLIT_TENSORS);
    if stated.is_some_and(|n| n != total) {
        let wanted = format!("{total}, the tensors of all parts");
        return Err(Error::malformed(
            &siblings[0],
            format!("`{SPLIT_TENSORS}`"),
            stated.unwrap_or(0).to_string(),
            wanted,
        ));
    }
    assemble(&siblings[0], files)
}

fn read(path: &Path) -> Result<(DataFile, Header)> {
    let file = DataFile::open(path)?;
    let header = read_header(path, &file.file, file.len)?;
    Ok((file, header))
}

/// Paths of all parts, from the name of any of them.
fn siblings(path: &Path, count: u64) -> Result<Vec<PathBuf>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gguf").unwrap_or(&name);
    let prefix = stem.strip_suffix(&format!("-of-{count:05}")).and_then(|s| {
        let (prefix, number) = s.rsplit_once('-')?;
        (number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit())).then_some(prefix)
    });
    match prefix {
        // The key is 16 bits wide; a larger number would only make a long list of files that are not there.
        Some(prefix) if count <= u64::from(u16::MAX) => {
            Ok((1..=count).map(|n| path.with_file_name(format!("{prefix}-{n:05}-of-{count:05}.gguf"))).collect())
        }
        _ => {
            let wanted = format!("NAME-00001-of-{count:05}.gguf, since `{SPLIT_COUNT}` is {count}");
            Err(Error::malformed(path, "file name", format!("`{name}`"), wanted))
        }
    }
}

fn assemble(path: &Path, files: Vec<(DataFile, Header)>) -> Result<Source> {
    let mut metadata = None;
    let mut tables = Vec::new();
    for (file, header) in files {
        let tensors = header.tensors.into_iter().map(|e| {
            let shape = Shape::new(e.dims).expect("the header reader bounds the product");
            (TensorInfo { name: e.name, shape, format: e.format, bytes: e.bytes }, header.data_start + e.offset)
        });
        tables.push((file, Table { tensors: tensors.collect(), facts: Default::default() }));
        metadata.get_or_insert(header.metadata);
    }
    let mut metadata = metadata.unwrap_or_default();
    metadata.retain(|key| !key.starts_with("split."));
    let mut source = Source::assemble(path.to_owned(), Origin::Gguf { metadata }, tables)?;
    if let Some((prefix, _)) = source.name.rsplit_once("-00001-of-") {
        source.name = prefix.to_owned();
    }
    Ok(source)
}
