//! A Hugging Face folder: config.json with one safetensors file, or several behind an index.

use super::{DataFile, Origin, Source, Table, bitmask, found_in_json, read_json_object, read_text, safetensors};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// Open a folder.
pub(super) fn open_folder(folder: &Path) -> Result<Source> {
    bitmask::expanded(open_as_stored(folder)?)
}

/// Open a folder, with sparse matrices as the tensors that they are stored in.
pub(super) fn open_as_stored(folder: &Path) -> Result<Source> {
    let index = folder.join(INDEX);
    let files = if index.is_file() { open_index(folder, &index)? } else { vec![open_data(&only_file(folder)?)?] };
    let config = read_json_object(&folder.join("config.json"))?;
    let origin = Origin::HuggingFace { folder: folder.to_owned(), config };
    Source::assemble(folder.to_owned(), origin, files)
}

/// Open one safetensors file; a config.json beside it is its own.
pub(super) fn open_file(path: &Path) -> Result<Source> {
    let folder = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    let config = folder.join("config.json");
    let origin = if config.is_file() {
        Origin::HuggingFace { config: read_json_object(&config)?, folder }
    } else {
        Origin::Bare
    };
    bitmask::expanded(Source::assemble(path.to_owned(), origin, vec![open_data(path)?])?)
}

fn open_data(path: &Path) -> Result<(DataFile, Table)> {
    let file = DataFile::open(path)?;
    let table = safetensors::read_header(&file)?;
    Ok((file, table))
}

/// `model.safetensors`, or the only safetensors file there is.
fn only_file(folder: &Path) -> Result<PathBuf> {
    let usual = folder.join(SINGLE);
    if usual.is_file() {
        return Ok(usual);
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        names.push(entry.map_err(Error::io("read", folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let ending = |end: &str| names.iter().filter(|n| n.ends_with(end)).cloned().collect::<Vec<_>>();
    match &ending(".safetensors")[..] {
        [one] => Ok(folder.join(one)),
        [] => {
            let models: Vec<_> = [".bin", ".pth", ".pt", ".gguf"].iter().flat_map(|e| ending(e)).collect();
            let found = match &models[..] {
                [] => "no safetensors file in this folder".to_owned(),
                some => format!("a folder with {}", some.join(", ")),
            };
            Err(Error::NotAModel { path: folder.to_owned(), found })
        }
        several => {
            let found = format!("{} safetensors files without {INDEX}", several.len());
            Err(Error::malformed(folder, "data files", found, format!("{SINGLE}, or an index")))
        }
    }
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn open_index(folder: &Path, path: &Path) -> Result<Vec<(DataFile, Table)>> {
    let index: Index = serde_json::from_str(&read_text(path)?).map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        Error::malformed(path, place, found_in_json(&e), "an object with `weight_map`")
    })?;
    let mut shards: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
    for (tensor, shard) in &index.weight_map {
        let plain = Path::new(shard).components().all(|c| matches!(c, Component::Normal(_)));
        if !plain || shard.is_empty() {
            let place = format!("weight_map: `{tensor}`");
            return Err(Error::malformed(path, place, format!("`{shard}`"), "a file inside the folder"));
        }
        shards.entry(shard).or_default().insert(tensor);
    }
    let mut files = Vec::new();
    for (shard, mut wanted) in shards {
        if !folder.join(shard).exists() {
            let example = wanted.iter().min().copied().unwrap_or_default();
            let place = format!("weight_map: `{example}`");
            return Err(Error::malformed(
                path,
                place,
                format!("`{shard}`, which is not there"),
                "all shards; finish the download",
            ));
        }
        let (file, table) = open_data(&folder.join(shard))?;
        for (t, _) in &table.tensors {
            if !wanted.remove(t.name.as_str()) {
                let place = format!("tensor `{}`", t.name);
                return Err(Error::malformed(&file.path, place, "one that the index does not name", "the index's"));
            }
        }
        if let Some(missing) = wanted.iter().min() {
            let place = format!("weight_map: `{missing}`");
            return Err(Error::malformed(path, place, format!("`{shard}`"), "a file that holds it"));
        }
        files.push((file, table));
    }
    if files.is_empty() {
        return Err(Error::malformed(path, "weight_map", "no tensors", "at least one"));
    }
    Ok(files)
}
