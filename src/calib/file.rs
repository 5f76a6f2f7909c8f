//! Importance matrix files: `general.type` is `imatrix`, and each matrix NAME has tensors NAME.in_sum2 and NAME.counts.

use super::{Entry, Statistics, legacy};
use crate::error::{Error, Result};
use crate::gguf::{DEFAULT_ALIGNMENT, MAGIC, Metadata, TensorEntry, encode_header};
use crate::sink::write_file;
use crate::source::{Origin, Source, read_bytes};
use crate::tensor::TensorId;
use std::path::Path;
use tersor_kernels::Format;

const TYPE: &str = "imatrix";
const DATASETS: &str = "imatrix.datasets";
const CHUNKS: &str = "imatrix.chunk_count";
const CONTEXT: &str = "imatrix.chunk_size";
const SQUARES: &str = ".in_sum2";
const COUNTS: &str = ".counts";

impl Statistics {
    /// Read a file of llama.cpp's present or former kind.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything else.
    pub fn read(path: &Path) -> Result<Statistics> {
        let head = read_bytes(path)?;
        if !head.starts_with(&MAGIC) {
            return legacy::parse(path, &head);
        }
        let source = Source::open(path)?;
        let wrong = |place: String, found: String, wanted: &str| Err(Error::malformed(path, place, found, wanted));
        let Origin::Gguf { metadata } = &source.origin else {
            return wrong("kind of file".into(), "no GGUF".into(), "an importance matrix");
        };
        if metadata.text("general.type") != Some(TYPE) {
            let found = metadata.text("general.type").unwrap_or("nothing").to_owned();
            return wrong("`general.type`".into(), found, "`imatrix`, as `tersor calibrate` writes it");
        }
        let number = |key: &str| metadata.count(key).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let texts = metadata.strings(DATASETS).into_iter().flat_map(|s| s.iter());
        let mut statistics = Statistics {
            datasets: texts.map(str::to_owned).collect(),
            chunks: number(CHUNKS),
            context: number(CONTEXT),
            ..Statistics::default()
        };
        for (n, tensor) in source.tensors().iter().enumerate() {
            let Some(name) = tensor.name.strip_suffix(SQUARES) else { continue };
            let Some(counts) = source.find(&format!("{name}{COUNTS}")) else {
                return wrong(format!("tensor `{}`", tensor.name), "no counts".into(), "its `.counts` beside it");
            };
            let squares = floats(&source, TensorId(n))?;
            let counts = floats(&source, counts)?;
            if counts.is_empty() || !squares.len().is_multiple_of(counts.len()) {
                let found = format!("{} sums for {} counts", squares.len(), counts.len());
                return wrong(format!("tensor `{}`", tensor.name), found, "as many for each count");
            }
            statistics.entries.insert(name.to_owned(), Entry { squares, counts });
        }
        if statistics.entries.is_empty() {
            return wrong("tensors".into(), "none with sums".into(), "NAME.in_sum2 and NAME.counts");
        }
        Ok(statistics)
    }

    /// Write a file that [`Statistics::read`] and llama.cpp read.
    ///
    /// # Errors
    /// [`Error::Exists`] unless `force`, [`Error::Io`]; nothing is left then.
    pub fn write(&self, path: &Path, force: bool) -> Result<()> {
        write_file(path, self.encode(), force)
    }

    /// The whole file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut metadata = Metadata::default();
        metadata.set("general.type", TYPE);
        metadata.set(DATASETS, self.datasets.clone());
        metadata.set(CHUNKS, self.chunks);
        metadata.set(CONTEXT, self.context);
        let mut tensors = Vec::new();
        for (name, entry) in &self.entries {
            let experts = entry.counts.len() as u64;
            let columns = entry.squares.len() as u64 / experts.max(1);
            let dims = |columns| if experts == 1 { vec![columns] } else { vec![experts, columns] };
            tensors.push((format!("{name}{SQUARES}"), dims(columns), Values::F32(&entry.squares)));
            tensors.push((format!("{name}{COUNTS}"), dims(1), Values::F32(&entry.counts)));
        }
        encode(&metadata, &tensors)
    }
}

/// Numbers of a file.
pub(super) enum Values<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
}

impl Values<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
        }
    }

    fn format(&self) -> &'static Format {
        let name = match self {
            Values::F32(_) => "f32",
            Values::F64(_) => "f64",
        };
        Format::by_name(name).expect("a row of the table")
    }

    fn bytes(&self) -> usize {
        self.len() * self.format().bytes
    }

    fn put(&self, file: &mut Vec<u8>) {
        match self {
            Values::F32(values) => file.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Values::F64(values) => file.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        }
    }
}

/// A whole GGUF file of names, dimensions and numbers.
pub(super) fn encode(metadata: &Metadata, tensors: &[(String, Vec<u64>, Values<'_>)]) -> Vec<u8> {
    let entries: Vec<TensorEntry<'_>> = tensors
        .iter()
        .map(|(name, dims, values)| TensorEntry { name, dims, format: values.format(), bytes: values.bytes() as u64 })
        .collect();
    let (mut file, offsets) = encode_header(metadata, &entries, DEFAULT_ALIGNMENT);
    let start = file.len();
    let all: usize =
        entries.iter().map(|entry| (entry.bytes as usize).next_multiple_of(DEFAULT_ALIGNMENT as usize)).sum();
    file.reserve_exact(all);
    for ((.., values), offset) in tensors.iter().zip(offsets) {
        file.resize(start + offset as usize, 0);
        values.put(&mut file);
    }
    file.resize(file.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
    file
}

/// All values of a tensor.
fn floats(source: &Source, id: TensorId) -> Result<Vec<f32>> {
    let tensor = source.tensor(id);
    if tensor.format.name != "f32" {
        let place = format!("tensor `{}`", tensor.name);
        return Err(Error::malformed(&source.path, place, tensor.format.name, "f32"));
    }
    source.values(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn files_come_back_as_they_were_written() {
        let entry = |n: usize, experts: usize| Entry {
            squares: (0..n).map(|i| i as f32 * 0.37).collect(),
            counts: (0..experts).map(|e| e as f32 + 512.0).collect(),
        };
        let entries = [("blk.0.attn_q.weight", entry(96, 1)), ("blk.0.ffn_gate_exps.weight", entry(64, 4))];
        let entries: BTreeMap<String, Entry> = entries.map(|(name, e)| (name.to_owned(), e)).into();
        let written = Statistics { datasets: vec!["a.txt".into()], chunks: 7, context: 512, entries };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imatrix.gguf");
        written.write(&path, false).unwrap();
        assert_eq!(Statistics::read(&path).unwrap(), written);
        assert!(matches!(written.write(&path, false), Err(Error::Exists { .. })));
    }
}
