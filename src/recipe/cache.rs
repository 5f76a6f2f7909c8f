//! Results by their keys, for all runs of a user.
//!
//! `results/KEY/` has a result under its name, and `kept.json` with its hash: what does not have that hash is made anew. A
//! lock on `results/KEY.lock` lets one process make it while others wait for it.

use super::files::{Hashes, size_of};
use crate::error::{Error, Result};
use crate::run::{Index, Known};
use crate::sink::{parent, write_file};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A folder of results.
#[derive(Debug)]
pub struct Cache {
    /// Where it is.
    pub folder: PathBuf,
}

/// A result, whole and sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The file or folder beside.
    pub(super) name: PathBuf,
    pub(super) blake3: String,
    pub(super) bytes: u64,
}

const KEPT: &str = "kept.json";

impl Cache {
    /// That in `folder`, or in `tersor` of the user's cache folder: `XDG_CACHE_HOME`, or `.cache` at home.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Usage`] where there is no home.
    pub fn open(folder: Option<&Path>) -> Result<Cache> {
        let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let usual = || Some(var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")))?.join("tersor"));
        let folder = folder.map(Path::to_owned).or_else(usual).ok_or_else(|| Error::Usage {
            problem: "there is no folder for the cache: neither XDG_CACHE_HOME nor HOME is set".into(),
            hint: "pass `--cache FOLDER` or `--no-cache`".into(),
        })?;
        let results = folder.join("results");
        fs::create_dir_all(&results).map_err(Error::io("create", &results))?;
        Ok(Cache { folder })
    }

    /// Hashes of files that were read before.
    pub(super) fn hashes(&self, rehash: bool) -> Hashes {
        Hashes::open(self.folder.join("hashes.json"), rehash)
    }

    fn entry(&self, key: &str) -> PathBuf {
        self.folder.join("results").join(key)
    }

    /// The result of `key`, if it is there and sound.
    pub(super) fn find(&self, key: &str, hashes: &mut Hashes) -> Option<(PathBuf, Kept)> {
        let entry = self.entry(key);
        let kept: Kept = serde_json::from_slice(&fs::read(entry.join(KEPT)).ok()?).ok()?;
        let path = entry.join(&kept.name);
        if !hashes.of(&path).is_ok_and(|found| found == kept.blake3) {
            return None;
        }
        // The time of the last use decides what is pruned first.
        let _ = File::open(entry.join(KEPT)).and_then(|file| file.set_modified(SystemTime::now()));
        Some((path, kept))
    }

    /// The result of `key` under `name`, made by `make` where it is not there; and whether it was made now.
    ///
    /// # Errors
    /// Those of `make`, [`Error::Io`].
    pub(super) fn get(
        &self,
        key: &str,
        name: &Path,
        hashes: &mut Hashes,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<(PathBuf, Kept, bool)> {
        let wanted = [(key.to_owned(), name.to_owned())];
        let mut found = self.get_all(&wanted, hashes, |missing, _| make(&missing[0].1))?;
        Ok(found.remove(0))
    }

    /// The same for several keys and names, where `make` makes all that are missing: it gets their numbers and paths.
    ///
    /// # Errors
    /// Those of `make`, [`Error::Io`].
    pub(super) fn get_all(
        &self,
        wanted: &[(String, PathBuf)],
        hashes: &mut Hashes,
        make: impl FnOnce(&[(usize, PathBuf)], &mut Hashes) -> Result<()>,
    ) -> Result<Vec<(PathBuf, Kept, bool)>> {
        // In the order of their keys, so that two processes never wait for each other; what is wanted twice is made once.
        let first = wanted.iter().enumerate().rev().map(|(n, (key, _))| (key.as_str(), n));
        let first: BTreeMap<&str, usize> = first.collect();
        let lock = |key: &&str| lock(&self.entry(key).with_extension("lock"), FlockOperation::LockExclusive);
        let _locks = first.keys().map(lock).collect::<Result<Vec<File>>>()?;
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        for (key, n) in &first {
            match self.find(key, hashes) {
                Some((path, kept)) => _ = found.insert(*key, (path, kept, false)),
                None => missing.push((*n, self.entry(key).join(&wanted[*n].1))),
            }
        }
        missing.sort();
        for (_, path) in &missing {
            let entry = parent(path);
            // What is damaged goes; the state of a run that was killed stays.
            remove(&entry.join(KEPT))?;
            remove(path)?;
            fs::create_dir_all(&entry).map_err(Error::io("create", &entry))?;
        }
        if !missing.is_empty() {
            make(&missing, hashes)?;
        }
        for (n, path) in missing {
            let (key, name) = &wanted[n];
            let kept = Kept { name: name.clone(), blake3: hashes.of(&path)?, bytes: size_of(&path)? };
            write_file(&path.with_file_name(KEPT), serde_json::to_vec(&kept).unwrap_or_default(), true)?;
            found.insert(key, (path, kept, true));
        }
        Ok(wanted.iter().filter_map(|(key, _)| found.get(key.as_str()).cloned()).collect())
    }

    /// The tensors of all sound outputs that were made of the model with this key.
    pub(super) fn tensors(&self, model: &str, hashes: &mut Hashes) -> Known {
        let mut known = Known::new(model.to_owned());
        let indices = fs::read_dir(self.folder.join("tensors").join(model)).into_iter().flatten();
        let whole = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
        for path in indices.filter_map(|e| Some(e.ok()?.path())).filter(whole) {
            let key = path.file_stem().unwrap_or_default().to_string_lossy();
            let index = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match (self.find(&key, hashes), index) {
                (Some((output, _)), Some(index)) => known.add(&output, index),
                // The output went, or never came to be.
                _ => _ = fs::remove_file(&path),
            }
        }
        known
    }

    /// Let the tensors of the output `key` be found.
    pub(super) fn note(&self, model: &str, key: &str, index: &Index) -> Result<()> {
        let folder = self.folder.join("tensors").join(model);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let bytes = serde_json::to_vec(index).unwrap_or_default();
        write_file(&folder.join(key).with_extension("json"), bytes, true)
    }

    /// Its entries, those first that were not used for the longest time: when, bytes, where.
    fn entries(&self) -> Result<Vec<(SystemTime, u64, PathBuf)>> {
        let results = self.folder.join("results");
        let read = fs::read_dir(&results).map_err(Error::io("read", &results))?;
        let folders = read.filter_map(|e| Some(e.ok()?.path())).filter(|path| path.is_dir());
        let used = |path: &Path| {
            let time = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
            time(&path.join(KEPT)).or_else(|| time(path)).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let mut all: Vec<_> = folders.map(|path| Ok((used(&path), whole_size(&path)?, path))).collect::<Result<_>>()?;
        all.sort();
        Ok(all)
    }

    /// How many results it has, and their bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn info(&self) -> Result<(usize, u64)> {
        let entries = self.entries()?;
        Ok((entries.len(), entries.iter().map(|(_, bytes, _)| bytes).sum()))
    }

    /// Take out what was not used for the longest time, until `max` bytes are left at most; gives how many results went, and
    /// their bytes. What is being made stays.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn prune(&self, max: u64) -> Result<(usize, u64)> {
        let entries = self.entries()?;
        let mut left: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        let (mut count, mut gone) = (0, 0);
        for (_, bytes, path) in entries {
            if left <= max {
                break;
            }
            let name = path.with_extension("lock");
            let Ok(_lock) = lock(&name, FlockOperation::NonBlockingLockExclusive) else { continue };
            remove(&path)?;
            (left, count, gone) = (left - bytes, count + 1, gone + bytes);
            remove(&name)?;
        }
        Ok((count, gone))
    }
}

/// Until the file is dropped, no one else has it.
fn lock(path: &Path, how: FlockOperation) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    locked(file.map_err(Error::io("create", path))?, path, how)
}

/// The same for a file that is open.
pub(super) fn locked(file: File, path: &Path, how: FlockOperation) -> Result<File> {
    flock(&file, how).map_err(|e| Error::io("lock", path)(e.into()))?;
    Ok(file)
}

/// Remove a file or a folder, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Bytes of a folder with all below it.
fn whole_size(folder: &Path) -> Result<u64> {
    let mut sum = size_of(folder)?;
    let read = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    for below in read.filter_map(|e| Some(e.ok()?.path())).filter(|path| path.is_dir()) {
        sum += whole_size(&below)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::super::files::files_in;
    use super::*;

    fn made(cache: &Cache, key: &str, text: &str) -> (String, bool) {
        let mut hashes = cache.hashes(false);
        let make = |path: &Path| fs::write(path, text).map_err(Error::io("write", path));
        let (path, _, new) = cache.get(key, Path::new("x"), &mut hashes, make).unwrap();
        (fs::read_to_string(path).unwrap(), new)
    }

    #[test]
    fn results_are_made_once_and_again_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(dir.path())).unwrap();
        assert_eq!(made(&cache, "a", "one"), ("one".into(), true));
        assert_eq!(made(&cache, "a", "two"), ("one".into(), false));
        fs::write(dir.path().join("results/a/x"), "bad").unwrap();
        assert_eq!(made(&cache, "a", "one"), ("one".into(), true));
        fs::write(dir.path().join("results/a/kept.json"), "{").unwrap();
        assert_eq!(made(&cache, "a", "one"), ("one".into(), true));
        assert_eq!(files_in(&dir.path().join("results/a")).unwrap().len(), 2);
    }

    #[test]
    fn what_fails_leaves_nothing_to_be_found() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(dir.path())).unwrap();
        let mut hashes = cache.hashes(false);
        assert!(cache.get("a", Path::new("x"), &mut hashes, |_| Err(Error::Interrupted)).is_err());
        assert!(cache.find("a", &mut hashes).is_none());
    }

    #[test]
    fn the_oldest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(dir.path())).unwrap();
        for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
            made(&cache, key, &"x".repeat(1000));
            let about = File::open(dir.path().join("results").join(key).join(KEPT)).unwrap();
            about.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(100 - n as u64)).unwrap();
        }
        let (count, bytes) = cache.info().unwrap();
        assert_eq!(count, 3);
        assert_eq!(cache.prune(bytes - 1).unwrap(), (1, bytes / 3));
        let mut hashes = cache.hashes(false);
        assert_eq!(["a", "b", "c"].map(|key| cache.find(key, &mut hashes).is_some()), [true, true, false]);
        assert_eq!(cache.prune(0).unwrap().0, 2);
        assert_eq!(cache.info().unwrap(), (0, 0));
    }
}
