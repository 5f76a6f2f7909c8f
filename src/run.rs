//! Carrying out a job: read, decode, encode and write overlap on all threads, in bounded memory.
//!
//! The plan is cut into pieces of bounded size. Each worker takes the next piece, reads it by a positioned read into its
//! own buffer, hashes it when its turn comes, encodes it, and writes it to its place. Neither bytes nor reported errors
//! depend on the number of workers.

mod piece;
mod reuse;

pub use reuse::{ENCODERS, Index, Reuse};

use crate::conversion::{Head, Job};
use crate::error::{Error, Result};
use crate::plan::{Input, Plan, TensorPlan};
use crate::progress::Progress;
use crate::sink::{Layout, Output};
use crate::source::Source;
use piece::{Buffers, Piece, Scales, pieces};
use reuse::Found;
use std::collections::HashMap;
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

/// Write every tensor of `job` to its place in `output`; what `reuse` has is copied, and what was written is noted there.
///
/// # Errors
/// The error of the first piece, in plan order, that has one.
pub fn run(
    job: &Job,
    source: &Source,
    layout: &Layout,
    output: &Output,
    limits: Limits,
    reuse: Option<&Reuse>,
    progress: &dyn Progress,
) -> Result<Measured> {
    let work = Work {
        job,
        source,
        layout,
        output,
        level: limits.level,
        non_finite: if job.allow_non_finite { NonFinite::Keep } else { NonFinite::Refuse },
        progress,
        pieces: pieces(&job.plan),
        scales: Scales::read(&job.plan, source, limits.level)?,
        found: reuse.map(|reuse| reuse.find(job, source)).unwrap_or_default(),
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        turn: Mutex::new(Turn { piece: 0, hashes: TensorHashes::default() }),
        turned: Condvar::new(),
    };
    let results: Vec<Vec<(usize, Result<Done>)>> = std::thread::scope(|scope| {
        // A system that gives fewer threads than asked gets the work done by those, and by this one.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, || work.worker()).ok();
        let workers: Vec<_> = (1..limits.threads.clamp(1, work.pieces.len().max(1))).map_while(spawn).collect();
        let own = work.worker();
        let join = |w: std::thread::ScopedJoinHandle<'_, _>| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        workers.into_iter().map(join).chain([own]).collect()
    });
    let mut results: Vec<_> = results.into_iter().flatten().collect();
    results.sort_by_key(|(piece, _)| *piece);
    let mut fits = vec![Fit::default(); job.plan.tensors.len()];
    let mut zeros = vec![0; job.plan.tensors.len()];
    for (piece, done) in results {
        let (tensor, done) = (work.pieces[piece].tensor, done?);
        fits[tensor] += done.fit;
        zeros[tensor] += done.zeros;
    }
    if work.stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    let mut hashes = work.turn.into_inner().unwrap_or_else(PoisonError::into_inner).hashes;
    hashes.close();
    for (tensor, found) in &work.found {
        (fits[*tensor], zeros[*tensor]) = (found.fit(), found.zeros());
        if let Input::Stored { id, .. } = &job.plan.tensors[*tensor].input {
            hashes.done.push((source.tensor(*id).name.clone(), found.source));
        }
    }
    if let Some(reuse) = reuse {
        reuse.record(job, source, layout, (&fits, &zeros), &hashes.done);
    }
    let source_hash = hashes.finish(&job.inputs, &work.scales);
    for (file, offset) in &layout.digests {
        output.write(*file, *offset, source_hash.as_bytes())?;
    }
    Ok(Measured { fits, zeros, source_hash })
}

/// How a tensor of a job's plan is encoded.
fn encoding<'a>(job: &'a Job, tensor: &str, non_finite: NonFinite) -> Encoding<'a> {
    let importance = job.importance.get(tensor).map(|columns| Importance { columns, start: 0 });
    Encoding { importance, effort: job.effort, non_finite }
}

/// What the workers share.
struct Work<'a> {
    job: &'a Job,
    source: &'a Source,
    layout: &'a Layout,
    output: &'a Output,
    level: Level,
    non_finite: NonFinite,
    progress: &'a dyn Progress,
    pieces: Vec<Piece>,
    scales: Scales,
    /// Tensors that were written before, by number.
    found: HashMap<usize, Found>,
    next: AtomicUsize,
    stop: AtomicBool,
    turn: Mutex<Turn>,
    turned: Condvar,
}

/// What a piece became.
struct Done {
    fit: Fit,
    zeros: u64,
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
            let Some(piece) = self.pieces.get(number) else { break };
            if self.progress.cancelled() {
                self.halt();
                break;
            }
            // Armed until the piece is done: a panic in it must not leave the others waiting for its turn.
            let guard = HaltOnPanic(self);
            let result = self.process(number, piece, &mut buffers);
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

    fn process(&self, number: usize, piece: &Piece, buffers: &mut Buffers) -> Result<Done> {
        let tensor = &self.job.plan.tensors[piece.tensor];
        let (file, start) = self.layout.places[piece.tensor];
        let start = start + piece.output_offset(tensor);
        if let Some(found) = self.found.get(&piece.tensor) {
            self.hash_in_turn(number, piece, &[]);
            found.read(piece, tensor, buffers)?;
            self.output.write(file, start, &buffers.encoded)?;
            self.progress.advance(piece.stored_bytes(tensor) as u64);
            return Ok(Done { fit: Fit::default(), zeros: 0 });
        }
        let read = piece.read(tensor, self.source, buffers)?;
        self.hash_in_turn(number, piece, &buffers.stored[..read]);
        let how = encoding(self.job, &tensor.name, self.non_finite);
        let fit = piece.encode(tensor, &self.scales, &how, self.level, buffers);
        let fit = fit.map_err(|bad| piece.bad_value(tensor, self.source, bad))?;
        self.output.write(file, start, &buffers.encoded)?;
        let zeros = if self.job.count_zeros { piece.zeros(tensor, self.level, buffers) } else { 0 };
        self.progress.advance(read as u64);
        Ok(Done { fit, zeros })
    }

    /// Hash what was read of a piece, after that of the pieces before it.
    fn hash_in_turn(&self, number: usize, piece: &Piece, read: &[u8]) {
        let lock = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |turn: &mut Turn| turn.piece != number && !self.stop.load(Ordering::Relaxed);
        let mut turn = self.turned.wait_while(lock, waiting).unwrap_or_else(PoisonError::into_inner);
        if turn.piece == number {
            if let (Input::Stored { id, .. }, false) = (&self.job.plan.tensors[piece.tensor].input, read.is_empty()) {
                turn.hashes.update(&self.source.tensor(*id).name, read);
            }
            turn.piece += 1;
            drop(turn);
            self.turned.notify_all();
        }
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

/// BLAKE3 of each tensor's stored bytes.
#[derive(Default)]
struct TensorHashes {
    current: Option<(String, blake3::Hasher)>,
    done: Vec<(String, blake3::Hash)>,
}

impl TensorHashes {
    fn update(&mut self, name: &str, bytes: &[u8]) {
        if self.current.as_ref().is_none_or(|(current, _)| current != name) {
            self.close();
            self.current = Some((name.to_owned(), blake3::Hasher::new()));
        }
        if let Some((_, hasher)) = &mut self.current {
            hasher.update(bytes);
        }
    }

    fn close(&mut self) {
        self.done.extend(self.current.take().map(|(name, hasher)| (name, hasher.finalize())));
    }

    /// The hash over the sorted (name, hash) of tensors, then of the other files. Each name ends with a zero byte.
    fn finish(mut self, files: &[(String, blake3::Hash)], scales: &Scales) -> String {
        self.close();
        self.done.extend(scales.hashes());
        self.done.sort_by(|a, b| a.0.cmp(&b.0));
        let mut files = files.to_vec();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let mut all = blake3::Hasher::new();
        for (name, hash) in self.done.iter().chain(&files) {
            all.update(name.as_bytes()).update(&[0]).update(hash.as_bytes());
        }
        all.finalize().to_hex().to_string()
    }
}

/// The pieces of a job's tensors once more, for a comparison: source values, and their bytes in the output's format.
pub(crate) struct Rederive<'a> {
    job: &'a Job,
    source: &'a Source,
    scales: Scales,
    level: Level,
}

/// One piece of an output tensor.
pub(crate) struct Rederived<'a> {
    /// Position of its first value in the tensor.
    pub(crate) start: u64,
    /// The values before rounding; `None` where the source's format has no decoder.
    pub(crate) values: Option<&'a [f32]>,
    /// The bytes that tersor writes; `None` where it has no encoder.
    pub(crate) encoded: Option<&'a [u8]>,
    /// Where they stand, from the tensor's start.
    pub(crate) output_offset: u64,
    /// How many there are.
    pub(crate) output_bytes: usize,
}

impl<'a> Rederive<'a> {
    pub(crate) fn new(job: &'a Job, source: &'a Source, level: Level) -> Result<Self> {
        let scales = Scales::read(&job.plan, source, level)?;
        Ok(Rederive { job, source, scales, level })
    }

    /// Call `visit` for every piece of `t`; gives the name and hash of the source tensor.
    pub(crate) fn pieces(
        &self,
        t: &TensorPlan,
        visit: &mut dyn FnMut(Rederived<'_>) -> Result<()>,
    ) -> Result<Option<(String, blake3::Hash)>> {
        let mut buffers = Buffers::default();
        let mut hashes = TensorHashes::default();
        let how = encoding(self.job, &t.name, NonFinite::Keep);
        for piece in piece::pieces_of(0, t) {
            let read = piece.read(t, self.source, &mut buffers)?;
            if let Input::Stored { id, .. } = &t.input {
                hashes.update(&self.source.tensor(*id).name, &buffers.stored[..read]);
            }
            let (has_values, has_bytes) = piece.rederive(t, &self.scales, &how, self.level, &mut buffers);
            let (output_offset, output_bytes) = piece.output_range(t);
            visit(Rederived {
                start: piece.start,
                values: has_values.then_some(&buffers.decoded),
                encoded: has_bytes.then_some(&buffers.encoded),
                output_offset,
                output_bytes,
            })?;
        }
        hashes.close();
        Ok(hashes.done.pop())
    }

    /// The source's hash from those of its tensors.
    pub(crate) fn source_hash(&self, tensors: Vec<(String, blake3::Hash)>) -> String {
        TensorHashes { current: None, done: tensors }.finish(&self.job.inputs, &self.scales)
    }
}
