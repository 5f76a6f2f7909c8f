//! Carrying out a job: read, decode, encode and write overlap on all threads, in bounded memory.
//!
//! The plan is cut into pieces of bounded size. Each worker takes the next piece, reads it by a positioned read into its
//! own buffer, hashes it when its turn comes, encodes it, and writes it to its place. Neither bytes nor reported errors
//! depend on the number of workers.

mod hashes;
mod journal;
mod piece;
mod queue;
mod rederive;
mod reuse;

pub use journal::Journal;
pub(crate) use rederive::Rederive;
pub use reuse::{ENCODERS, Index, Known, Reuse};

use crate::conversion::{Head, Job};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::sink::{Layout, Output};
use crate::source::Source;
use hashes::{TensorHashes, hash_of_all};
use piece::{Buffers, Piece, Scales, pieces};
use queue::{Place, Queue, Queued};
use reuse::{Found, Stored};
use std::collections::HashMap;
use std::ops::AddAssign;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use tersor_kernels::{Encoding, Fit, Importance, Level, NonFinite};

/// How a run may use the machine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Worker threads.
    pub threads: usize,
    /// Instruction set of the encoders.
    pub level: Level,
}

/// What a run measured.
#[derive(Debug)]
pub struct Measured {
    /// For each tensor of the plan, what rounding did to it.
    pub fits: Vec<Fit>,
    /// For each tensor of the plan, its zeros as they are read back, where the job asks for that.
    pub zeros: Vec<u64>,
    /// Hash of everything that was read, in hexadecimal.
    pub source_hash: String,
    /// Tensors that were copied from other outputs.
    pub copied: usize,
    /// Tensors that a run before this one had finished.
    pub finished: usize,
}

/// The layout of a job's output at `target`.
///
/// # Errors
/// See [`Layout::gguf`] and [`Layout::folder`].
pub fn layout(job: &Job, target: &Path) -> Result<Layout> {
    match &job.head {
        Head::Gguf(metadata) => Layout::gguf(target, &job.plan, metadata, job.max_file_bytes),
        Head::Folder(files) => Layout::folder(target, &job.plan, files, job.max_file_bytes),
    }
}

/// Bytes that each worker holds at most, and those that they share.
pub fn working_memory(plan: &Plan) -> (u64, u64) {
    let largest = pieces(plan).iter().map(|p| p.memory(plan)).max().unwrap_or(0);
    (largest, Scales::memory(plan))
}

/// One output of a run.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// What is written.
    pub job: &'a Job,
    /// What is read: the same model for all outputs of a run.
    pub source: &'a Source,
    /// Where every byte goes.
    pub layout: &'a Layout,
    /// The files.
    pub output: &'a Output,
    /// What it has is copied, and what was written is noted there.
    pub reuse: Option<&'a Reuse>,
    /// What it has is in place already.
    pub journal: Option<&'a Journal>,
}

/// Write every tensor of every output to its place, side by side.
///
/// # Errors
/// The error of the first piece, in order of the source's tensors, that has one.
pub fn run(tasks: &[Task<'_>], limits: Limits, progress: &dyn Progress) -> Result<Vec<Measured>> {
    let outputs = tasks.iter().map(|task| Running::new(*task, limits.level, progress)).collect::<Result<Vec<_>>>()?;
    let work = Work {
        queue: Queue::new(&outputs),
        outputs,
        level: limits.level,
        progress,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        turn: Mutex::new(Turn { piece: 0, hashes: TensorHashes::default() }),
        turned: Condvar::new(),
    };
    let results: Vec<Vec<(usize, Result<Done>)>> = std::thread::scope(|scope| {
        // A system that gives fewer threads than asked gets the work done by those, and by this one.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, || work.worker()).ok();
        let workers: Vec<_> = (1..limits.threads.clamp(1, work.queue.pieces.len().max(1))).map_while(spawn).collect();
        let own = work.worker();
        let join = |w: std::thread::ScopedJoinHandle<'_, _>| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        workers.into_iter().map(join).chain([own]).collect()
    });
    let done = work.sum(results.into_iter().flatten().collect());
    if done.is_err() {
        // What ended the run is what is told, not that this failed too.
        work.outputs.iter().for_each(|output| drop(output.write_journal()));
    }
    let done = done?;
    (0..tasks.len()).map(|n| work.finish(n, &done)).collect()
}

/// An output under way.
struct Running<'a> {
    task: Task<'a>,
    scales: Scales,
    /// What decides its tensors' bytes, where that is of use.
    keys: Vec<Option<String>>,
    /// Tensors that were written before, by number.
    found: HashMap<usize, Found>,
}

impl<'a> Running<'a> {
    fn new(task: Task<'a>, level: Level, progress: &dyn Progress) -> Result<Running<'a>> {
        let Task { job, source, .. } = task;
        let keys = task.reuse.map(|reuse| reuse.keys(job, source)).unwrap_or_default();
        let mut found = task.reuse.map(|reuse| reuse.find(&keys)).unwrap_or_default();
        if let Some(journal) = task.journal {
            found.extend(journal.find(&task)?);
        }
        let running = Running { task, scales: Scales::read(&job.plan, source, level)?, keys, found };
        let in_place = running.found.iter().filter(|(_, found)| found.is_in_place());
        let stored = in_place.filter_map(|(n, _)| running.stored(&job.plan.tensors[*n]));
        progress.resume(stored.map(|stored| stored.bytes).sum());
        Ok(running)
    }

    /// Let a run after this one go on from here.
    fn write_journal(&self) -> Result<()> {
        self.task.journal.map_or(Ok(()), |journal| journal.write(self.task.output))
    }
}

/// How a tensor of a job's plan is encoded.
fn encoding<'a>(job: &'a Job, tensor: &str, non_finite: NonFinite) -> Encoding<'a> {
    let importance = job.importance.get(tensor).map(|columns| Importance { columns, start: 0 });
    Encoding { importance, effort: job.effort, non_finite }
}

/// What the workers share.
struct Work<'a> {
    outputs: Vec<Running<'a>>,
    queue: Queue,
    level: Level,
    progress: &'a dyn Progress,
    next: AtomicUsize,
    stop: AtomicBool,
    turn: Mutex<Turn>,
    turned: Condvar,
}

/// What a piece or a tensor became.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    fit: Fit,
    zeros: u64,
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Done) {
        self.fit += other.fit;
        self.zeros += other.zeros;
    }
}

/// Whose piece is hashed next, since a hash must see a tensor's bytes in order.
struct Turn {
    piece: usize,
    hashes: TensorHashes,
}

impl Work<'_> {
    /// Pieces in order until there are none, or something failed. A failure lets pieces that were taken earlier come to
    /// their end, so the first one in plan order is always among the results.
    fn worker(&self) -> Vec<(usize, Result<Done>)> {
        let mut buffers = Buffers::default();
        let mut results = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(queued) = self.queue.pieces.get(number) else { break };
            if self.progress.cancelled() {
                self.halt();
                break;
            }
            // Armed until the piece is done: a panic in it must not leave the others waiting for its turn.
            let guard = HaltOnPanic(self);
            let result = self.process(number, queued, &mut buffers);
            drop(guard);
            if result.is_err() {
                self.halt();
            }
            results.push((number, result));
        }
        results
    }

    /// Let every worker end after its piece. Under the lock, so that none can miss it between looking and waiting.
    fn halt(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.stop.store(true, Ordering::Relaxed);
        self.turned.notify_all();
    }

    fn process(&self, number: usize, queued: &Queued, buffers: &mut Buffers) -> Result<Done> {
        let Queued { output, piece, .. } = queued;
        let Running { task, scales, found, .. } = &self.outputs[*output];
        let t = &task.job.plan.tensors[piece.tensor];
        if let Some(found) = found.get(&piece.tensor) {
            self.hash_in_turn(number, queued, &[]);
            found.copy(piece, task, buffers)?;
            self.progress.advance(piece.stored_bytes(t) as u64);
            return Ok(Done::default());
        }
        let read = piece.read(t, task.source, buffers)?;
        self.hash_in_turn(number, queued, &buffers.stored[..read]);
        let non_finite = if task.job.allow_non_finite { NonFinite::Keep } else { NonFinite::Refuse };
        let how = encoding(task.job, &t.name, non_finite);
        let fit = piece.encode(t, scales, &how, self.level, buffers);
        let fit = fit.map_err(|bad| piece.bad_value(t, task.source, bad))?;
        let zeros = if task.job.count_zeros { piece.zeros(t, self.level, buffers) } else { 0 };
        let done = Done { fit, zeros };
        let own = (*output, piece.tensor);
        let same = self.queue.same.get(&own).map_or(&[][..], Vec::as_slice);
        for place in [&own].into_iter().chain(same) {
            self.write(*place, piece, done, &buffers.encoded)?;
            self.progress.advance(read as u64);
        }
        Ok(done)
    }

    /// Write a piece to one of its places.
    fn write(&self, (output, tensor): Place, piece: &Piece, done: Done, encoded: &[u8]) -> Result<()> {
        let task = &self.outputs[output].task;
        let offset = task.write(tensor, piece, encoded)?;
        let Some(journal) = task.journal else { return Ok(()) };
        let t = &task.job.plan.tensors[tensor];
        let source = || {
            let stored = self.outputs[output].stored(t)?;
            self.turn.lock().unwrap_or_else(PoisonError::into_inner).hashes.of(&stored.name, stored.bytes)
        };
        journal.add((tensor, t), piece.start, (done, blake3::hash(encoded)), (offset, task.output), source)
    }

    /// Hash what was read of a piece, after that of the pieces before it.
    fn hash_in_turn(&self, number: usize, queued: &Queued, read: &[u8]) {
        let lock = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |turn: &mut Turn| turn.piece != number && !self.stop.load(Ordering::Relaxed);
        let mut turn = self.turned.wait_while(lock, waiting).unwrap_or_else(PoisonError::into_inner);
        if turn.piece == number {
            let running = &self.outputs[queued.output];
            let stored = running.stored(&running.task.job.plan.tensors[queued.piece.tensor]);
            if let Some(stored) = stored.filter(|_| queued.hashed) {
                turn.hashes.update(&stored.name, read);
            }
            turn.piece += 1;
            drop(turn);
            self.turned.notify_all();
        }
    }

    /// What came of each tensor that was made.
    fn sum(&self, mut results: Vec<(usize, Result<Done>)>) -> Result<HashMap<Place, Done>> {
        results.sort_by_key(|(number, _)| *number);
        let mut sums: HashMap<Place, Done> = HashMap::new();
        for (number, done) in results {
            let Queued { output, piece, .. } = &self.queue.pieces[number];
            *sums.entry((*output, piece.tensor)).or_default() += done?;
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        for (leader, same) in &self.queue.same {
            let done = sums.get(leader).copied().unwrap_or_default();
            sums.extend(same.iter().map(|place| (*place, done)));
        }
        Ok(sums)
    }

    /// What an output came to, when all is written but the source's hash.
    fn finish(&self, output: usize, done: &HashMap<Place, Done>) -> Result<Measured> {
        let Running { task, scales, keys, found } = &self.outputs[output];
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hashes = Vec::new();
        let (mut fits, mut zeros) = (Vec::new(), Vec::new());
        for (n, t) in task.job.plan.tensors.iter().enumerate() {
            let before = found.get(&n);
            let done = before.map(Found::done).or_else(|| done.get(&(output, n)).copied()).unwrap_or_default();
            fits.push(done.fit);
            zeros.push(done.zeros);
            let Some(stored) = self.outputs[output].stored(t) else { continue };
            let hash = before.map(|found| found.source).or_else(|| turn.hashes.of(&stored.name, stored.bytes));
            let Some(hash) = hash else { continue };
            hashes.push((stored.name.clone(), hash));
            if let (Some(reuse), Some(Some(key))) = (task.reuse, keys.get(n)) {
                reuse.record(key, Stored::new(task.layout.places[n].1, done, hash));
            }
        }
        let source_hash = hash_of_all(hashes, &task.job.inputs, scales);
        for (file, offset) in &task.layout.digests {
            task.output.write(*file, *offset, source_hash.as_bytes())?;
        }
        let finished = found.values().filter(|found| found.is_in_place()).count();
        Ok(Measured { fits, zeros, source_hash, copied: found.len() - finished, finished })
    }
}

impl Task<'_> {
    /// Write a piece of the tensor with this number; gives where the tensor begins in its file.
    fn write(&self, tensor: usize, piece: &Piece, encoded: &[u8]) -> Result<u64> {
        let (file, start) = self.layout.places[tensor];
        let (offset, _) = piece.output_range(&self.job.plan.tensors[tensor]);
        self.output.write(file, start + offset, encoded)?;
        Ok(start)
    }
}

/// See [`Work::worker`].
struct HaltOnPanic<'a, 'w>(&'a Work<'w>);

impl Drop for HaltOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.halt();
        }
    }
}
