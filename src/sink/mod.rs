//! Where the output goes. The layout - every byte's place - is known before the first byte is written; the files
//! appear under their names only when they are whole.

mod files;
mod gguf;
mod safetensors;

pub use files::{Going, Output, free_space};
pub(crate) use files::{beside, parent, replace_folder};

use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::plan::Plan;
use std::path::{Path, PathBuf};

/// The key of the hash of everything that was read; its digits are filled in after the run.
pub const SOURCE_HASH: &str = "tersor.source_blake3";

/// Holds the place of a BLAKE3 digest until it is known.
pub const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The files of an output and where each tensor lies in them.
#[derive(Debug)]
pub struct Layout {
    /// The path that the user named: the first file, or the folder.
    pub target: PathBuf,
    /// The output is a folder that appears as a whole.
    pub folder: bool,
    /// Its files.
    pub files: Vec<FileLayout>,
    /// For each tensor of the plan, its file and its place there.
    pub places: Vec<(usize, u64)>,
    /// Where the source's hash goes.
    pub digests: Vec<(usize, u64)>,
}

/// One file.
#[derive(Debug)]
pub struct FileLayout {
    /// Where it will be.
    pub path: PathBuf,
    /// What it starts with: a header, or everything.
    pub head: Vec<u8>,
    /// Its full length.
    pub len: u64,
}

impl Layout {
    /// GGUF, split when it is larger than `max_file_bytes`.
    ///
    /// # Errors
    /// [`Error::Usage`] when one tensor alone is larger.
    pub fn gguf(target: &Path, plan: &Plan, metadata: &Metadata, max_file_bytes: Option<u64>) -> Result<Layout> {
        gguf::layout(target, plan, metadata, max_file_bytes)
    }

    /// A Hugging Face folder; weights in shards when they are larger than `max_file_bytes`.
    ///
    /// # Errors
    /// [`Error::Usage`] when one tensor alone is larger.
    pub fn folder(
        target: &Path,
        plan: &Plan,
        others: &[(String, Vec<u8>)],
        max_file_bytes: Option<u64>,
    ) -> Result<Layout> {
        safetensors::layout(target, plan, others, max_file_bytes)
    }

    /// Everything that a run writes to or replaces: the files, the folder, and the partial names of both.
    pub fn touched(&self) -> impl Iterator<Item = PathBuf> {
        let paths = self.files.iter().map(|f| &f.path).chain([&self.target]);
        let partial_folder = files::partial_name(&self.target);
        let inside = self.files.iter().filter(|_| self.folder).filter_map(move |f| {
            let name = f.path.file_name()?;
            Some(partial_folder.join(name))
        });
        paths.flat_map(|p| [p.clone(), files::partial_name(p)]).chain(inside)
    }

    /// A hash of what decides every byte's place, and of the heads.
    pub fn digest(&self) -> String {
        let mut all = blake3::Hasher::new();
        for file in &self.files {
            let name = file.path.file_name().unwrap_or_default();
            all.update(name.as_encoded_bytes()).update(&file.len.to_le_bytes());
            all.update(&(file.head.len() as u64).to_le_bytes()).update(&file.head);
        }
        all.finalize().to_hex().to_string()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.len).sum()
    }
}

/// Write one file of `bytes`, whole or not at all.
///
/// # Errors
/// [`Error::Exists`] unless `force`, [`Error::Io`].
pub fn write_file(path: &Path, bytes: Vec<u8>, force: bool) -> Result<()> {
    let len = bytes.len() as u64;
    let files = vec![FileLayout { path: path.to_owned(), head: bytes, len }];
    let (places, digests) = Default::default();
    let layout = Layout { target: path.to_owned(), folder: false, files, places, digests };
    Output::create(&layout, force, Going::Once)?.commit()
}

/// Consecutive tensors that fit into one file each: `sizes` are their padded bytes, `reserve` is what a file needs
/// besides.
fn partition(sizes: &[u64], reserve: u64, max_file_bytes: Option<u64>) -> Result<Vec<std::ops::Range<usize>>> {
    let limit = max_file_bytes.unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    let (mut start, mut filled) = (0, reserve);
    for (i, size) in sizes.iter().enumerate() {
        if reserve.saturating_add(*size) > limit {
            return Err(Error::Usage {
                problem: format!("a file of at most {limit} bytes cannot hold a tensor of {size} bytes and the header"),
                hint: format!("pass `--split-max-size` of {} or more", reserve + size),
            });
        }
        if filled.saturating_add(*size) > limit {
            parts.push(start..i);
            (start, filled) = (i, reserve);
        }
        filled += size;
    }
    parts.push(start..sizes.len());
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_fill_files_in_order() {
        let ends = |sizes: &[u64], reserve, max| -> Vec<usize> {
            partition(sizes, reserve, max).unwrap().iter().map(|part| part.end).collect()
        };
        assert_eq!(ends(&[5, 5, 5], 0, None), [3]);
        assert_eq!(ends(&[5, 5, 5], 2, Some(12)), [2, 3]);
        assert_eq!(ends(&[5, 5, 5], 0, Some(9)), [1, 2, 3]);
        assert_eq!(ends(&[], 0, Some(9)), [0]);
        assert!(partition(&[5], 5, Some(9)).is_err());
    }
}
