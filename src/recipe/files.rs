//! Hashes of what is read and written.

use crate::digest;
use crate::error::{Error, Result};
use crate::source::{Origin, Source, is_companion};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Hashes of files, remembered by inode, size and time, so that an unchanged file is not read again, whatever its name.
#[derive(Clone, Default)]
pub(super) struct Hashes {
    memo: PathBuf,
    known: BTreeMap<String, Known>,
    /// Not yet to be remembered: they may still change without another time.
    fresh: Vec<(PathBuf, Known)>,
    /// What other runs remember and this one does not trust: it reads each file once.
    untrusted: BTreeMap<String, Known>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Known {
    size: u64,
    time: [i64; 2],
    blake3: String,
}

/// A file that changed so shortly ago may change again without another time: file systems count in ticks of up to 10 ms.
const SETTLED: Duration = Duration::from_millis(20);

impl Hashes {
    /// What is remembered in `memo`; nothing where that cannot be read.
    pub(super) fn open(memo: PathBuf, rehash: bool) -> Hashes {
        let found = fs::read(&memo).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let (known, untrusted) = if rehash { (BTreeMap::new(), found) } else { (found, BTreeMap::new()) };
        Hashes { memo, known, fresh: Vec::new(), untrusted }
    }

    /// Remember for other runs. What cannot be written is no harm.
    pub(super) fn save(&mut self) {
        if !self.fresh.is_empty() {
            std::thread::sleep(SETTLED);
        }
        for (path, known) in std::mem::take(&mut self.fresh) {
            let now = fs::metadata(&path).ok().map(|metadata| (inode(&metadata), Known::of(&metadata, &known.blake3)));
            self.known.extend(now.filter(|(_, now)| *now == known));
        }
        let mut all = self.untrusted.clone();
        all.extend(self.known.clone());
        let partial = self.memo.with_extension(format!("{}.partial", std::process::id()));
        let bytes = serde_json::to_vec(&all).unwrap_or_default();
        if fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &self.memo)).is_err() {
            let _ = fs::remove_file(&partial);
        }
    }

    /// BLAKE3 of a file, or of the names and hashes of the files in a folder.
    pub(super) fn of(&mut self, path: &Path) -> Result<String> {
        if !path.is_dir() {
            return self.file(path);
        }
        let mut all = blake3::Hasher::new();
        for file in files_in(path)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.update(name.as_bytes()).update(&[0]).update(self.file(&file)?.as_bytes());
        }
        Ok(all.finalize().to_hex().to_string())
    }

    fn file(&mut self, path: &Path) -> Result<String> {
        let opened = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let (file, metadata) = opened.map_err(Error::io("open", path))?;
        let known = self.known.get(&inode(&metadata));
        if let Some(known) = known.filter(|known| **known == Known::of(&metadata, &known.blake3)) {
            return Ok(known.blake3.clone());
        }
        let hash = digest::of_file(&file).map_err(Error::io("read", path))?;
        Ok(self.add(path, &metadata, hash))
    }

    /// The hash of a file that this process wrote.
    pub(super) fn learn(&mut self, path: &Path, hash: blake3::Hash) -> Result<()> {
        let metadata = fs::metadata(path).map_err(Error::io("open", path))?;
        self.add(path, &metadata, hash);
        Ok(())
    }

    fn add(&mut self, path: &Path, metadata: &Metadata, hash: blake3::Hash) -> String {
        let blake3 = hash.to_hex().to_string();
        let known = Known::of(metadata, &blake3);
        let settled = |time| SystemTime::now().duration_since(time).is_ok_and(|age| age > SETTLED);
        if metadata.modified().is_ok_and(settled) {
            self.known.insert(inode(metadata), known);
        } else {
            self.fresh.push((path.to_owned(), known));
        }
        blake3
    }
}

fn inode(metadata: &Metadata) -> String {
    format!("{}:{}", metadata.dev(), metadata.ino())
}

impl Known {
    fn of(metadata: &Metadata, blake3: &str) -> Known {
        Known { size: metadata.len(), time: [metadata.mtime(), metadata.mtime_nsec()], blake3: blake3.to_owned() }
    }
}

/// The files of a folder, by name; those in folders below are not among them.
pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder).and_then(|entries| entries.map(|e| Ok(e?.path())).collect());
    let paths: Vec<PathBuf> = paths.map_err(Error::io("read", folder))?;
    let mut files: Vec<PathBuf> = paths.into_iter().filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// The files that a model is made of.
pub(super) fn files_of(source: &Source) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = source.data_files().map(Path::to_owned).collect();
    if let Origin::HuggingFace { folder, .. } = &source.origin {
        files.extend(files_in(folder)?.into_iter().filter(|path| is_companion(path)));
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Bytes of a file, or of the files in a folder.
pub(super) fn size_of(path: &Path) -> Result<u64> {
    let files = if path.is_dir() { files_in(path)? } else { vec![path.to_owned()] };
    let sizes = files.iter().map(|file| fs::metadata(file).map(|m| m.len()).map_err(Error::io("open", file)));
    sizes.sum()
}
