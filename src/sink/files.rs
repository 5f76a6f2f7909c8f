//! Writing: a partial file beside the target, positioned writes, fsync, rename.

use super::Layout;
use crate::digest;
use crate::error::{Error, Result};
use crate::source::is_companion;
use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::num::NonZero;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The files under way. Dropped without [`Output::commit`], it leaves nothing behind unless another run is to go on.
#[derive(Debug)]
pub struct Output {
    target: PathBuf,
    folder: bool,
    files: Vec<Part>,
    committed: bool,
    force: bool,
    going: Going,
}

/// Whether what a run leaves that comes to no end is gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// No: nothing is left.
    Once,
    /// A run after this one may go on.
    Begun,
    /// This one goes on with what is there.
    On,
}

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
    pub fn create(layout: &Layout, force: bool, going: Going) -> Result<Output> {
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
        let (files, committed) = Default::default();
        let mut output = Output { target, folder: folder_output, files, committed, force, going };
        for f in &layout.files {
            let partial = match (&folder, f.path.file_name()) {
                (Some(folder), Some(name)) => folder.join(name),
                _ => partial_name(&f.path),
            };
            output.files.push(Part { file: open_partial(&partial, going)?, partial, path: f.path.clone() });
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
        part.file.write_all_at(bytes, offset).map_err(Error::io("write", &part.partial))?;
        start_writeback(&part.file, offset, bytes.len() as u64);
        Ok(())
    }

    /// Let the system copy bytes of another file, from `start` on, to a place of a file: true where it did, and what it leaves
    /// undone is written otherwise.
    pub fn copy(&self, file: usize, offset: u64, from: &File, start: u64, len: u64) -> bool {
        let part = &self.files[file];
        let copied = copy_range(from, start, &part.file, offset, len).is_ok();
        start_writeback(&part.file, offset, len);
        copied
    }

    /// Bytes at a place of a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read(&self, file: usize, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let part = &self.files[file];
        part.file.read_exact_at(bytes, offset).map_err(Error::io("read", &part.partial))
    }

    /// Make durable what was written.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        self.files.iter().try_for_each(|part| part.file.sync_data().map_err(Error::io("write", &part.partial)))
    }

    /// BLAKE3 of the files, by the names that they will have.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn hashes(&self) -> Result<Vec<(PathBuf, blake3::Hash)>> {
        let hash = |part: &Part| {
            let hash = digest::of_file(&part.file).map_err(Error::io("read", &part.partial))?;
            Ok((part.path.clone(), hash))
        };
        self.files.iter().map(hash).collect()
    }

    /// Where the file with this number is until [`Output::commit`].
    pub fn partial(&self, file: usize) -> &Path {
        &self.files[file].partial
    }

    /// Make the files durable and give them their names.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Exists`] when the target appeared since the start; nothing is left then.
    pub fn commit(mut self) -> Result<()> {
        for part in &self.files {
            part.file.sync_all().map_err(Error::io("write", &part.partial))?;
        }
        if self.folder {
            let partial = partial_name(&self.target);
            sync_folder(&partial)?;
            if self.force && fs::symlink_metadata(&self.target).is_ok() {
                replace_folder(&partial, &self.target)?;
            } else {
                rename(&partial, &self.target, false)?;
            }
        } else {
            for (done, part) in self.files.iter().enumerate() {
                if let Err(e) = rename(&part.partial, &part.path, self.force) {
                    // Half a set of splits is no output. With `force` the old files are gone already.
                    self.files[..done].iter().for_each(|p| drop(fs::remove_file(&p.path)));
                    return Err(e);
                }
            }
        }
        // Whether the new name outlives a power cut is up to the file system; a half-written file never has it.
        self.committed = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.committed || self.going != Going::Once {
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

/// Let the disk begin with a range while the run goes on, so that the fsync at the end need not wait for all of it.
/// Pages of the range that are dirty go to the disk; they stay cached, since they are under way when the system looks for
/// ones to drop. Only advice: what fails here is told by the fsync.
fn start_writeback(file: &File, offset: u64, len: u64) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, offset, NonZero::new(len), rustix::fs::Advice::DontNeed);
}

#[cfg(target_os = "linux")]
fn copy_range(from: &File, mut start: u64, to: &File, mut offset: u64, len: u64) -> std::result::Result<(), Errno> {
    let end = offset + len;
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        if rustix::fs::copy_file_range(from, Some(&mut start), to, Some(&mut offset), left)? == 0 {
            return Err(Errno::IO);
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn copy_range(_: &File, _: u64, _: &File, _: u64, _: u64) -> std::result::Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// A link at the partial file's place would lead the run to write elsewhere.
const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits() as i32;

/// Room for new files beside `target`, in bytes.
///
/// # Errors
/// [`Error::Io`], also when the folder does not exist.
pub fn free_space(target: &Path) -> Result<u64> {
    let folder = parent(target);
    let stat = rustix::fs::statvfs(&folder).map_err(|e| Error::io("open", &folder)(e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The folder that a path lies in.
pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

pub(super) fn partial_name(path: &Path) -> PathBuf {
    beside(path, ".partial")
}

/// The path with `suffix` after its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
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
        (true, true) => match foreign_entry(path)? {
            Some(name) => usage(format!("`{}` holds `{name}` too, so it is not replaced", path.display())),
            None => Ok(()),
        },
        (false, false) if !found.is_file() && !found.is_symlink() => {
            usage(format!("`{}` is no regular file, so it is not replaced", path.display()))
        }
        (false, false) => Ok(()),
    }
}

/// An entry of a folder that is no file of a model.
fn foreign_entry(folder: &Path) -> Result<Option<String>> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let weights = path.is_file() && path.extension().is_some_and(|e| e == "safetensors");
        if !weights && !is_companion(&path) {
            return Ok(Some(path.file_name().unwrap_or_default().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Open and lock, then empty: a second run on the same target must not truncate what the first one writes.
fn open_partial(path: &Path, going: Going) -> Result<File> {
    let open =
        || OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(NO_FOLLOW).open(path);
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
    if going != Going::On {
        file.set_len(0).map_err(Error::io("write", path))?;
    }
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

/// Rename; without `force` never over something that is there.
fn rename(from: &Path, to: &Path, force: bool) -> Result<()> {
    if force {
        return fs::rename(from, to).map_err(Error::io("rename", from));
    }
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(Error::Exists { path: to.to_owned() }),
        // A file system without this kind of rename; that the target is absent was checked at the start.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::rename(from, to).map_err(Error::io("rename", from)),
        Err(e) => Err(Error::io("rename", from)(e.into())),
    }
}

/// Put `partial` in the place of the folder `target`, which `check_target` has looked into. The two change places at
/// once, so that there is always one of them; the old one then goes.
pub(crate) fn replace_folder(partial: &Path, target: &Path) -> Result<()> {
    rustix::fs::renameat_with(CWD, partial, CWD, target, RenameFlags::EXCHANGE)
        .map_err(|e| Error::io("replace", target)(e.into()))?;
    fs::remove_dir_all(partial).map_err(Error::io("remove", partial))
}
