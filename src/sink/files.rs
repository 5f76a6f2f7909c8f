//! Writing: a partial file beside the target, positioned writes, fsync, rename.

use super::Layout;
use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// The files under way. Dropped without [`Output::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Output {
    target: PathBuf,
    folder: bool,
    files: Vec<Part>,
    committed: bool,
    /// Bytes written since the last flush.
    pending: AtomicU64,
    /// The first flush that failed.
    failure: Mutex<Option<Error>>,
}

/// Bytes that are worth a flush of their own.
const FLUSH_BYTES: u64 = 16 << 20;
/// How often the flusher looks.
const FLUSH_EVERY: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Part {
    file: File,
    partial: PathBuf,
    path: PathBuf,
}

impl Output {
    /// Create the partial files and write their heads. A partial file that a killed run left is taken over.
    ///
    /// # Errors
    /// [`Error::Exists`] unless `force`, [`Error::Busy`] while another run writes the same target, [`Error::Io`].
    pub fn create(layout: &Layout, force: bool) -> Result<Output> {
        let named: Vec<&Path> = match layout.folder {
            true => vec![&layout.target],
            false => layout.files.iter().map(|f| f.path.as_path()).collect(),
        };
        for path in named {
            check_target(path, layout.folder, force)?;
        }
        let folder = layout.folder.then(|| partial_name(&layout.target));
        if let Some(folder) = &folder {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let (target, folder_output) = (layout.target.clone(), layout.folder);
        let (files, committed, pending, failure) = Default::default();
        let mut output = Output { target, folder: folder_output, files, committed, pending, failure };
        for f in &layout.files {
            let partial = match (&folder, f.path.file_name()) {
                (Some(folder), Some(name)) => folder.join(name),
                _ => partial_name(&f.path),
            };
            output.files.push(Part { file: open_partial(&partial)?, partial, path: f.path.clone() });
        }
        if let Some(folder) = &folder {
            remove_strays(folder, &output.files)?;
        }
        for (f, part) in layout.files.iter().zip(&output.files) {
            part.file.set_len(f.len).map_err(Error::io("write", &part.partial))?;
            part.file.write_all_at(&f.head, 0).map_err(Error::io("write", &part.partial))?;
        }
        Ok(output)
    }

    /// Write bytes at a place of a file.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk among them.
    pub fn write(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let part = &self.files[file];
        self.pending.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        part.file.write_all_at(bytes, offset).map_err(Error::io("write", &part.partial))
    }

    /// Hand what is written to the disk while `work` goes on, so that the end need not wait for all of it.
    pub fn flush_behind<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flusher = scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    std::thread::park_timeout(FLUSH_EVERY);
                    if self.pending.load(Ordering::Relaxed) >= FLUSH_BYTES {
                        self.pending.store(0, Ordering::Relaxed);
                        self.flush();
                    }
                }
            });
            let _stop = Stop { done: &done, thread: flusher.thread() };
            work()
        })
    }

    /// The system tells of a failed flush once: it is kept for `commit`.
    fn flush(&self) {
        for part in &self.files {
            if let Err(e) = part.file.sync_data() {
                let error = Error::io("write", &part.partial)(e);
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }

    /// Where the file with this number is until [`Output::commit`].
    pub fn partial(&self, file: usize) -> &Path {
        &self.files[file].partial
    }

    /// Make the files durable and give them their names.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is left then.
    pub fn commit(mut self) -> Result<()> {
        if let Some(failure) = self.failure.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failure);
        }
        for part in &self.files {
            part.file.sync_all().map_err(Error::io("write", &part.partial))?;
        }
        if self.folder {
            let partial = partial_name(&self.target);
            sync_folder(&partial)?;
            replace_folder(&partial, &self.target)?;
        } else {
            for part in &self.files {
                fs::rename(&part.partial, &part.path).map_err(Error::io("rename", &part.partial))?;
            }
        }
        self.committed = true;
        sync_folder(&parent(&self.target))
    }
}

/// Ends the flusher, also when the work panics.
struct Stop<'a> {
    done: &'a AtomicBool,
    thread: &'a Thread,
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        // Nothing can be done about a failure here: the file stays a `.partial` that the next run takes over.
        for part in &self.files {
            let _ = fs::remove_file(&part.partial);
        }
        if self.folder {
            let _ = fs::remove_dir(partial_name(&self.target));
        }
    }
}

/// Room for new files beside `target`, in bytes.
///
/// # Errors
/// [`Error::Io`], also when the folder does not exist.
pub fn free_space(target: &Path) -> Result<u64> {
    let folder = parent(target);
    let stat = rustix::fs::statvfs(&folder).map_err(|e| Error::io("open", &folder)(e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

/// An existing target is only replaced when asked, a folder only when it holds a model and nothing else of worth.
fn check_target(path: &Path, folder: bool, force: bool) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !force {
        return Err(Error::Exists { path: path.to_owned() });
    }
    let usage = |problem: String| {
        let hint = "choose another output with `-o`".to_owned();
        Err(Error::Usage { problem, hint })
    };
    match (folder, found.is_dir()) {
        (false, true) => usage(format!("`{}` is a folder, the output is a file", path.display())),
        (true, false) => usage(format!("`{}` is a file, the output is a folder", path.display())),
        (true, true) if !path.join("config.json").is_file() => {
            usage(format!("`{}` is no model folder, so it is not replaced", path.display()))
        }
        _ => Ok(()),
    }
}

/// Open and lock, then empty: a second run on the same target must not truncate what the first one writes.
fn open_partial(path: &Path) -> Result<File> {
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = open().map_err(Error::io("create", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(e)) => return Err(Error::io("lock", path)(e)),
    }
    // The run that held it may have renamed or removed it in between.
    let same = fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|m| m.ino() == now.ino()));
    if !same {
        return Err(Error::Busy { path: path.to_owned() });
    }
    file.set_len(0).map_err(Error::io("write", path))?;
    Ok(file)
}

/// A killed run may have left files in `folder` that this one does not write, and they would become part of the model.
/// No other run is at work there: it would hold config.json.
fn remove_strays(folder: &Path, parts: &[Part]) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if parts.iter().all(|p| p.partial != path) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(Error::io("write", path))
}

/// Put `partial` in the place of `target`; an old folder is moved aside first and removed last.
fn replace_folder(partial: &Path, target: &Path) -> Result<()> {
    if fs::symlink_metadata(target).is_err() {
        return fs::rename(partial, target).map_err(Error::io("rename", partial));
    }
    let mut aside = target.file_name().unwrap_or_default().to_owned();
    aside.push(".replaced.partial");
    let aside = target.with_file_name(aside);
    let _ = fs::remove_dir_all(&aside);
    fs::rename(target, &aside).map_err(Error::io("rename", target))?;
    if let Err(e) = fs::rename(partial, target) {
        let _ = fs::rename(&aside, target);
        return Err(Error::io("rename", partial)(e));
    }
    fs::remove_dir_all(&aside).map_err(Error::io("remove", &aside))
}
