//! A whole writing command: open, decide, check the room, write, verify, name.

use crate::conversion::{Conversion, Job, Target, resolve};
use crate::error::{Error, Result, human_bytes};
use crate::gguf::read_header;
use crate::machine::{all_threads, available_memory};
use crate::plan::{Container, TensorPlan};
use crate::progress::Progress;
use crate::run::{Journal, Limits, Measured, Reuse, Task, layout, run, working_memory};
use crate::sink::{Going, Layout, Output, free_space, parent};
use crate::source::{Origin, Source};
use crate::tokenizer::{self, Encoder};
use crate::verify;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tersor_kernels::Level;

/// How to write, besides what.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where; the default is made from the model's name and the type, in the current folder.
    pub output: Option<PathBuf>,
    /// Replace an existing output.
    pub force: bool,
    /// Skip the check of what was written.
    pub no_verify: bool,
    /// Worker threads; the default is what affinity and cgroup leave to the process.
    pub threads: Option<usize>,
    /// Bound on the workers' memory, in bytes.
    pub memory: Option<u64>,
    /// Tensors that were written before.
    pub reuse: Option<Arc<Reuse>>,
    /// Where a run notes what it finished, for one after it that goes on.
    pub journal: Option<PathBuf>,
    /// Hash what was written.
    pub hashed: bool,
}

/// A job that is ready to run: everything is decided, nothing is written.
#[derive(Debug)]
pub struct Build {
    /// What is read.
    pub source: Source,
    /// What happens.
    pub job: Job,
    /// What was asked for.
    pub conversion: Conversion,
    /// Where every byte goes.
    pub layout: Layout,
    /// Threads and instruction set.
    pub limits: Limits,
    /// Bytes that the workers will hold.
    pub working_memory: u64,
    /// Bytes free where the output goes.
    pub free_disk: u64,
    options: Options,
    reference: Mutex<Option<JoinHandle<Result<Option<Encoder<'static>>>>>>,
}

/// What a build did.
#[derive(Debug)]
pub struct Built {
    /// Errors and the source's hash.
    pub measured: Measured,
    /// What was checked.
    pub checked: Checked,
    /// BLAKE3 of each file, where that was asked for.
    pub hashes: Vec<(PathBuf, blake3::Hash)>,
    /// From the first read to the last rename.
    pub time: Duration,
}

/// The outcome of the check after writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Skipped by the user.
    No,
    /// The structure was read back, and this many texts were tokenized alike.
    Yes {
        /// Texts; 0 where there is no tokenizer.json to compare with.
        texts: usize,
    },
}

impl Build {
    /// Open the model and decide everything, from headers alone.
    ///
    /// # Errors
    /// Whatever makes the job impossible.
    pub fn prepare(model: &Path, conversion: &Conversion, options: Options) -> Result<Build> {
        Build::of(Source::open(model)?, conversion, options)
    }

    /// [`Build::prepare`] for what is opened already, or derived.
    ///
    /// # Errors
    /// Whatever makes the job impossible.
    pub fn of(source: Source, conversion: &Conversion, options: Options) -> Result<Build> {
        // The tokenizer of an output that has others beside it was most likely checked before.
        let checked = !options.no_verify && options.reuse.is_none();
        let reference = Mutex::new(reference_of(&source, conversion).filter(|_| checked).and_then(load_reference));
        let job = resolve(&source, conversion)?;
        let target = options.output.clone().unwrap_or_else(|| default_output(&source, &job, conversion));
        let layout = layout(&job, &target)?;
        check_not_the_source(&layout, &source)?;
        let free_disk = free_space(&layout.target)?;
        let threads = options.threads.unwrap_or_else(all_threads);
        let (threads, working_memory) = fit_memory(&job, threads, options.memory)?;
        let limits = Limits { threads, level: Level::best() };
        let conversion = conversion.clone();
        Ok(Build { source, job, conversion, layout, limits, working_memory, free_disk, options, reference })
    }

    /// Write the output, check it, and give it its name.
    ///
    /// # Errors
    /// Nothing is left behind then, unless there is a journal.
    pub fn write(&self, progress: &dyn Progress) -> Result<Built> {
        write_all(&[self], progress).map(|mut built| built.remove(0))
    }

    fn check_tokens(&self, output: &Output) -> Result<usize> {
        let Some(folder) = reference_of(&self.source, &self.conversion) else { return Ok(0) };
        let path = output.partial(0);
        let file = File::open(path).map_err(Error::io("open", path))?;
        let header = read_header(path, file, self.layout.files[0].len)?;
        let load = || match self.reference.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(started) => started.join().unwrap_or_else(|p| std::panic::resume_unwind(p)),
            None => tokenizer::reference(folder),
        };
        let check = || verify::tokenizer(&header.metadata, &self.layout.files[0].path, load);
        match &self.options.reuse {
            Some(reuse) => reuse.check_tokenizer(&header.metadata, check),
            None => check(),
        }
    }

    fn check_structure(&self, output: &Output) -> Result<()> {
        match self.job.plan.container {
            Container::Gguf => {
                let mut tensors = 0;
                for (n, file) in self.layout.files.iter().enumerate() {
                    tensors += verify::structure(output.partial(n), &file.path)?;
                }
                self.check_count(tensors)
            }
            Container::Safetensors => {
                let written = Source::open_as_stored(output.partial(0).parent().unwrap_or(Path::new(".")))?;
                let same = |t: &TensorPlan| {
                    let found = written.find(&t.name).map(|id| written.tensor(id));
                    found.is_some_and(|f| f.shape == t.shape && f.format == t.format)
                };
                let missing = self.job.plan.tensors.iter().find(|t| !same(t));
                match missing {
                    Some(t) => Err(self.unverified(format!("tensor `{}` is not as planned", t.name))),
                    None => self.check_count(written.tensors().len() as u64),
                }
            }
        }
    }

    fn check_count(&self, tensors: u64) -> Result<()> {
        let planned = self.job.plan.tensors.len() as u64;
        if tensors == planned {
            return Ok(());
        }
        Err(self.unverified(format!("{tensors} tensors, {planned} were planned")))
    }

    fn unverified(&self, problem: String) -> Error {
        Error::Unverified { path: self.layout.target.clone(), problem }
    }
}

/// Write the outputs of several builds of one model side by side, so that it is read once; check them, and give them their
/// names.
///
/// # Errors
/// Nothing is left behind then, unless there are journals.
pub fn write_all(builds: &[&Build], progress: &dyn Progress) -> Result<Vec<Built>> {
    let started = Instant::now();
    let needed = builds.iter().map(|build| build.layout.bytes()).sum();
    if let Some(build) = builds.iter().find(|build| build.free_disk < needed) {
        let path = parent(&build.layout.target);
        return Err(Error::DiskSpace { path, free: human_bytes(build.free_disk), needed: human_bytes(needed) });
    }
    let begun = builds.iter().map(|build| Begun::new(build)).collect::<Result<Vec<_>>>()?;
    let tasks: Vec<Task<'_>> = begun.iter().map(Begun::task).collect();
    let threads = builds.iter().map(|build| build.limits.threads).min().unwrap_or(1);
    let limits = Limits { threads, level: Level::best() };
    let (measured, texts) = std::thread::scope(|scope| {
        // The tokenizer is in the header, which is written already: its check can go on beside the encoders.
        let tokens = scope.spawn(|| begun.iter().map(Begun::check_tokens).collect::<Result<Vec<usize>>>());
        let measured = run(&tasks, limits, progress);
        (measured, tokens.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
    });
    let (measured, texts) = (measured?, texts?);
    let settled = begun.iter().zip(texts).map(|(begun, texts)| begun.settle(texts)).collect::<Result<Vec<_>>>()?;
    if progress.cancelled() {
        return Err(Error::Interrupted);
    }
    begun.into_iter().try_for_each(Begun::commit)?;
    let time = started.elapsed();
    let built = |(measured, (checked, hashes))| Built { measured, checked, hashes, time };
    Ok(measured.into_iter().zip(settled).map(built).collect())
}

/// A build under way.
struct Begun<'a> {
    build: &'a Build,
    output: Output,
    journal: Option<Journal>,
}

impl<'a> Begun<'a> {
    fn new(build: &'a Build) -> Result<Begun<'a>> {
        let Build { options, layout, .. } = build;
        let journal = options.journal.as_ref().map(|path| Journal::open(path, layout)).transpose()?;
        let going = match &journal {
            None => Going::Once,
            Some(journal) if journal.goes_on() => Going::On,
            Some(_) => Going::Begun,
        };
        let output = Output::create(layout, options.force, going)?;
        Ok(Begun { build, output, journal })
    }

    fn task(&self) -> Task<'_> {
        let Build { job, source, layout, options, .. } = self.build;
        let (reuse, journal) = (options.reuse.as_deref(), self.journal.as_ref());
        Task { job, source, layout, output: &self.output, reuse, journal }
    }

    fn check_tokens(&self) -> Result<usize> {
        if self.build.options.no_verify { Ok(0) } else { self.build.check_tokens(&self.output) }
    }

    /// Check what was written, and hash it where that is asked for, while the disk takes it.
    fn settle(&self, texts: usize) -> Result<(Checked, Vec<(PathBuf, blake3::Hash)>)> {
        let hashed = || if self.build.options.hashed { self.output.hashes() } else { Ok(Vec::new()) };
        std::thread::scope(|scope| {
            let (synced, hashed) = (scope.spawn(|| self.output.sync()), scope.spawn(hashed));
            let checked = self.check(texts)?;
            synced.join().unwrap_or_else(|p| std::panic::resume_unwind(p))?;
            Ok((checked, hashed.join().unwrap_or_else(|p| std::panic::resume_unwind(p))?))
        })
    }

    fn check(&self, texts: usize) -> Result<Checked> {
        if self.build.options.no_verify {
            return Ok(Checked::No);
        }
        self.build.check_structure(&self.output)?;
        Ok(Checked::Yes { texts })
    }

    fn commit(self) -> Result<()> {
        self.output.commit()?;
        self.journal.map_or(Ok(()), Journal::close)
    }
}

/// The folder whose tokenizer.json the tokenizer of the output is held against; `None` where it has none.
fn reference_of<'a>(source: &'a Source, conversion: &Conversion) -> Option<&'a Path> {
    match &source.origin {
        Origin::HuggingFace { folder, .. } if conversion.container == Container::Gguf => Some(folder),
        _ => None,
    }
}

/// Start to read tokenizer.json for the check after writing, beside everything that comes before it.
fn load_reference(folder: &Path) -> Option<JoinHandle<Result<Option<Encoder<'static>>>>> {
    let folder = folder.to_owned();
    std::thread::Builder::new().spawn(move || tokenizer::reference(&folder)).ok()
}

/// `NAME-Q8_0.gguf` in the current folder, as files are named on the Hub; `NAME-hf` for a folder.
fn default_output(source: &Source, job: &Job, conversion: &Conversion) -> PathBuf {
    let name = &source.name;
    if job.plan.container == Container::Safetensors {
        return PathBuf::from(format!("{name}-hf"));
    }
    let main = job.plan.formats().first().map_or("F32", |(f, ..)| f.name);
    let kind = match conversion.target {
        Target::Type(t) => t.name,
        Target::Float(f) => f.name,
        Target::Keep => main,
    };
    PathBuf::from(format!("{name}-{}.gguf", kind.to_uppercase()))
}

/// Inputs are only read, even with `--force`: every file of the model's folder (other outputs made there may be
/// replaced), and the folder itself.
fn check_not_the_source(layout: &Layout, source: &Source) -> Result<()> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let mut inputs: Vec<_> = source.data_files().filter_map(identity).collect();
    if let Origin::HuggingFace { folder, .. } = &source.origin {
        inputs.extend(identity(folder));
        let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
        let files = entries.filter_map(|e| Some(e.ok()?.path()));
        inputs.extend(files.filter(|f| f.extension().is_none_or(|e| e != "gguf")).filter_map(|f| identity(&f)));
    }
    let refuse = |path: &Path| {
        let problem = format!("the output `{}` is or holds the model that is read", path.display());
        Err(Error::Usage { problem, hint: "choose another output with `-o`".into() })
    };
    if let Some(path) = layout.touched().find(|path| identity(path).is_some_and(|id| inputs.contains(&id))) {
        return refuse(&path);
    }
    let inside = source.path.canonicalize().ok().zip(layout.target.canonicalize().ok());
    match inside {
        Some((source, target)) if layout.folder && source.starts_with(&target) => refuse(&layout.target),
        _ => Ok(()),
    }
}

/// As many threads as fit into the bound, and what they hold.
fn fit_memory(job: &Job, threads: usize, bound: Option<u64>) -> Result<(usize, u64)> {
    let available = available_memory();
    let limit = bound.unwrap_or(u64::MAX).min(available.unwrap_or(u64::MAX));
    let (each, shared) = working_memory(&job.plan);
    let room = limit.saturating_sub(shared) / each.max(1);
    match threads.clamp(1, usize::try_from(room.max(1)).unwrap_or(usize::MAX)) {
        threads if room > 0 => Ok((threads, each * threads as u64 + shared)),
        _ => {
            let found = match bound {
                Some(bound) if bound <= limit => format!("--memory allows {}", human_bytes(bound)),
                _ => format!("{} is available", human_bytes(limit)),
            };
            Err(Error::Memory { needed: human_bytes(each + shared), threads: 1, found })
        }
    }
}
