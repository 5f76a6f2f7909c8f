//! Tensors that a run finished, noted as it goes on, so that one after it need not make them again.
//!
//! The file's first line is a hash of the output's layout, each line after it is one tensor. A line is written when the
//! tensor's bytes are on the disk. One that was cut off ends the file; one whose bytes are others by now counts for nothing.

use super::piece::pieces_of;
use super::reuse::{Found, Stored};
use super::{Done, Task};
use crate::error::{Error, Result};
use crate::plan::TensorPlan;
use crate::sink::{Layout, Output, write_file};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was finished of one output.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// By runs before this one.
    before: Vec<Finished>,
    now: Mutex<Now>,
}

/// What this run does.
#[derive(Debug)]
struct Now {
    file: File,
    /// Pieces of tensors that are under way, by the tensors' numbers.
    pieces: HashMap<usize, Vec<Part>>,
    /// Finished tensors that the file does not have yet.
    waiting: Vec<Finished>,
    /// When they are written; `None` while one thread does that.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    start: u64,
    done: Done,
    blake3: blake3::Hash,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Finished {
    tensor: usize,
    stored: Stored,
    /// Over the hashes of its pieces.
    blake3: String,
}

/// So many times what it takes to wait for the disk, a run goes on before it waits again.
const PATIENCE: u32 = 20;
/// What a run lasts before it waits for the disk at all: so much can be made again.
const FIRST: Duration = Duration::from_secs(1);

impl Journal {
    /// That at `path` for an output with this layout, empty where there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path, layout: &Layout) -> Result<Journal> {
        let head = layout.digest();
        let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let mut lines = text.lines();
        let known = lines.next() == Some(&head);
        let lines = lines.filter(|_| known).map_while(|line| Some((line, serde_json::from_str(line).ok()?)));
        let (lines, before): (Vec<&str>, Vec<Finished>) = lines.unzip();
        let whole: String = [head.as_str()].iter().chain(&lines).map(|line| format!("{line}\n")).collect();
        write_file(path, whole.into_bytes(), true)?;
        let file = File::options().append(true).open(path).map_err(Error::io("open", path))?;
        let now = Now { file, pieces: HashMap::new(), waiting: Vec::new(), due: Some(Instant::now() + FIRST) };
        Ok(Journal { path: path.to_owned(), before, now: Mutex::new(now) })
    }

    /// A run before this one left something.
    pub fn goes_on(&self) -> bool {
        !self.before.is_empty()
    }

    /// Tensors whose bytes are in their places.
    pub(super) fn find(&self, task: &Task<'_>) -> Result<HashMap<usize, Found>> {
        let mut found = HashMap::new();
        for one in &self.before {
            let Some(t) = task.job.plan.tensors.get(one.tensor) else { continue };
            let (file, place) = task.layout.places[one.tensor];
            let mut all = blake3::Hasher::new();
            let mut bytes = Vec::new();
            for piece in pieces_of(one.tensor, t) {
                let (start, len) = piece.output_range(t);
                bytes.resize(len, 0);
                task.output.read(file, place + start, &mut bytes)?;
                all.update(blake3::hash(&bytes).as_bytes());
            }
            if all.finalize().to_hex().as_str() == one.blake3 {
                found.extend(Found::new(None, one.stored.clone()).map(|stored| (one.tensor, stored)));
            }
        }
        Ok(found)
    }

    /// The piece of a tensor from `start` on was written, its bytes have this hash; `source` gives that of what the tensor, which
    /// begins at `offset` of its file, is made from.
    pub(super) fn add(
        &self,
        (tensor, t): (usize, &TensorPlan),
        start: u64,
        (done, blake3): (Done, blake3::Hash),
        (offset, output): (u64, &Output),
        source: impl FnOnce() -> Option<blake3::Hash>,
    ) -> Result<()> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = now.pieces.entry(tensor).or_default();
        parts.push(Part { start, done, blake3 });
        if parts.len() < pieces_of(tensor, t).count() {
            return Ok(());
        }
        let mut parts = now.pieces.remove(&tensor).unwrap_or_default();
        let Some(source) = source() else { return Ok(()) };
        parts.sort_by_key(|part| part.start);
        let mut all = blake3::Hasher::new();
        let mut sum = Done::default();
        for part in parts {
            all.update(part.blake3.as_bytes());
            sum += part.done;
        }
        let stored = Stored::new(offset, sum, source);
        now.waiting.push(Finished { tensor, stored, blake3: all.finalize().to_hex().to_string() });
        if now.due.is_none_or(|due| Instant::now() < due) {
            return Ok(());
        }
        drop(now);
        self.write(output)
    }

    /// Write down what is finished, once its bytes are on the disk.
    pub(super) fn write(&self, output: &Output) -> Result<()> {
        let started = Instant::now();
        let lock = || self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let (finished, mut file) = {
            let mut now = lock();
            now.due = None;
            (std::mem::take(&mut now.waiting), now.file.try_clone().map_err(Error::io("open", &self.path))?)
        };
        output.sync()?;
        let lines: String = finished.iter().map(|one| serde_json::json!(one).to_string() + "\n").collect();
        file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).map_err(Error::io("write", &self.path))?;
        lock().due = Some(Instant::now() + started.elapsed() * PATIENCE);
        Ok(())
    }

    /// The output has its name: there is nothing to go on with.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn close(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))
    }
}
