//! Carrying out what a recipe asks for.

use super::cache::{Kept, locked, remove};
use super::check::{beside, with_student};
use super::files::files_in;
use super::lock::{Lock, Locked};
use super::plan::key_of;
use super::{Cache, Planned, QUANTIZE, Step};
use crate::error::{Error, Result};
use crate::options::{BenchArgs, ConvertArgs, DistillArgs, EvalArgs, PruneArgs, QuantizeArgs};
use crate::progress::Watch;
use crate::report::{KeptResult, Limit, Measurement, RecipeReport};
use crate::run::Reuse;
use crate::sink::{beside as named_beside, parent, replace_folder};
use crate::steps::write::{Beside, Ready, write_all};
use crate::steps::{bench, convert, distill, eval, prune, quantize};
use crate::writing::Built;
use clap::Args;
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tersor_kernels::Level;

/// How a recipe is carried out.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Fail when anything differs from the lock file.
    pub locked: bool,
    /// Replace outputs that this recipe did not make.
    pub force: bool,
    /// Tell of all results, also where there is nothing to do.
    pub again: bool,
    /// All that the process may use by default.
    pub threads: Option<usize>,
}

/// Beside an output in the cache, what writing it said.
const WRITTEN: &str = "written.json";
/// Beside an output that is being made.
const JOURNAL: &str = "journal";

/// What came of it.
pub enum Outcome {
    /// There was nothing to do.
    UpToDate,
    /// All of it was done.
    Done(RecipeReport),
    /// A limit does not hold: outputs stay in the cache.
    Failed(RecipeReport),
}

/// A result and how it came about.
struct Found {
    path: PathBuf,
    kept: Kept,
    made: bool,
    /// Tensors that were found in other outputs.
    copied: usize,
    /// Tensors that a run before had finished.
    finished: usize,
    seconds: f64,
}

impl Planned<'_> {
    /// Do what there is to do.
    ///
    /// # Errors
    /// Those of the steps, [`Error::NotLocked`], [`Error::Exists`] for outputs of others, [`Error::Interrupted`]: what was
    /// finished stays in the cache.
    pub fn run(&mut self, cache: &Cache, how: &How, watch: &dyn Watch) -> Result<Outcome> {
        // One run of a recipe at a time; what another one did while this one waited is done.
        let recipe = File::open(&self.recipe.path).map_err(Error::io("open", &self.recipe.path))?;
        let _only = locked(recipe, &self.recipe.path, FlockOperation::LockExclusive)?;
        self.before = Lock::read(&self.lock_path)?;
        if how.locked {
            self.check_lock(cache)?;
        }
        let to_do = self.to_do()?;
        if to_do.is_empty() && !how.again {
            return Ok(Outcome::UpToDate);
        }
        self.check_foreign(how)?;
        let started = Instant::now();
        let mut report = RecipeReport::new(&self.recipe.path, &self.source.name, to_do);
        let outputs = match self.all_kept(cache) {
            Some(outputs) => outputs,
            None => self.make(cache, how, watch, &mut report)?,
        };
        for (step, found) in self.recipe.outputs.iter().zip(&outputs) {
            report.results.push(found.told(self.recipe.relative(&step.file)));
        }
        self.measure(&outputs, cache, how, watch, &mut report)?;
        report.limits = self.recipe.limits.hold(&report.measurements);
        report.seconds = started.elapsed().as_secs_f64();
        if report.limits.iter().any(|limit| !limit.holds) {
            self.hashes.save();
            return Ok(Outcome::Failed(report));
        }
        self.finish(&outputs, how)?;
        Ok(Outcome::Done(report))
    }

    /// All passes, and the outputs.
    fn make(&mut self, cache: &Cache, how: &How, watch: &dyn Watch, report: &mut RecipeReport) -> Result<Vec<Found>> {
        let passed = self.passes(cache, how, watch, &mut report.results)?;
        self.outputs(passed.as_deref(), cache, how, watch)
    }

    /// The outputs where the cache has all of them, and the lock file tells of the passes: then these need not be there.
    fn all_kept(&mut self, cache: &Cache) -> Option<Vec<Found>> {
        let before = &self.before.as_ref()?.pass;
        let same =
            before.len() == self.lock.pass.len() && before.iter().zip(&self.lock.pass).all(|(a, b)| a.key == b.key);
        let passes = same.then(|| before.clone())?;
        let keys: Vec<String> = self.lock.output.iter().map(|output| output.key.clone()).collect();
        let found = keys.iter().map(|key| cache.find(key, &mut self.hashes)).collect::<Option<Vec<_>>>()?;
        self.lock.pass = passes;
        for (locked, (_, kept)) in self.lock.output.iter_mut().zip(&found) {
            (locked.bytes, locked.blake3) = (kept.bytes, kept.blake3.clone());
        }
        let whole = |(path, kept)| Found { path, kept, made: false, copied: 0, finished: 0, seconds: 0.0 };
        Some(found.into_iter().map(whole).collect())
    }

    /// What a locked run must find as it was.
    fn check_lock(&self, cache: &Cache) -> Result<()> {
        let not = |changes| Error::NotLocked { path: self.lock_path.clone(), changes };
        let before = self.before.as_ref().ok_or_else(|| not(vec!["there is no lock file".into()]))?;
        let changes = self.lock.changes(before);
        if !changes.is_empty() {
            return Err(not(changes));
        }
        // The last pass stands for those before it, and outputs that are in the cache for all.
        let mut hashes = cache.hashes(false);
        let mut has = |key: &str| cache.find(key, &mut hashes).is_some();
        if before.output.iter().all(|output| has(&output.key)) {
            return Ok(());
        }
        let missing = before.pass.iter().enumerate().rev().take_while(|(_, pass)| !has(&pass.key));
        let run: Vec<String> = missing
            .filter(|(_, pass)| pass.made_at.is_some())
            .map(|(n, pass)| format!("the result of pass {} ({}) is not in the cache", n + 1, &pass.blake3))
            .collect();
        if run.is_empty() { Ok(()) } else { Err(not(run)) }
    }

    /// Outputs that are there and were not made by this recipe are not replaced.
    fn check_foreign(&mut self, how: &How) -> Result<()> {
        for (n, step) in self.recipe.outputs.iter().enumerate().filter(|(_, step)| step.file.exists()) {
            let file = &self.lock.output[n].file;
            let own = self.before.iter().flat_map(|lock| &lock.output).find(|output| output.file == *file);
            let made = own.map(|output| output.blake3.clone());
            if !how.force && made != Some(self.hashes.of(&step.file)?) {
                return Err(Error::Exists { path: step.file.clone() });
            }
        }
        Ok(())
    }

    /// The result of the last pass, if there is one.
    pub(super) fn passes(
        &mut self,
        cache: &Cache,
        how: &How,
        watch: &dyn Watch,
        results: &mut Vec<KeptResult>,
    ) -> Result<Option<PathBuf>> {
        let mut model = None;
        let name = PathBuf::from(&self.source.name);
        for (n, step) in self.recipe.passes.iter().enumerate() {
            let key = self.lock.pass[n].key.clone();
            let before: &Path = model.as_deref().unwrap_or(&self.recipe.source);
            let started = Instant::now();
            let threads = threads(how);
            let told = format!("pass {}: {}", n + 1, step.kind.name);
            let (path, kept, made) = cache.get(&key, &name, &mut self.hashes, |to| {
                watch.say(&told);
                match step.kind.name {
                    "prune" => {
                        prune::run(&parsed::<PruneArgs>(step, beside(before, Some(to)), threads)?, watch).map(drop)
                    }
                    _ => {
                        let models = with_student(before, &self.recipe.source, Some(to));
                        distill::run(&parsed::<DistillArgs>(step, models, threads)?, watch).map(drop)
                    }
                }
            })?;
            let locked = &mut self.lock.pass[n];
            (locked.bytes, locked.blake3) = (kept.bytes, kept.blake3.clone());
            if step.runs_a_model() {
                let was = self.before.iter().flat_map(|lock| &lock.pass).find(|pass| pass.blake3 == kept.blake3);
                let at = format!(
                    "{}, {} threads",
                    Level::best().name(),
                    how.threads.unwrap_or_else(crate::machine::all_threads)
                );
                locked.made_at = was.and_then(|pass| pass.made_at.clone()).or(Some(at));
            }
            let found = Found { path, kept, made, copied: 0, finished: 0, seconds: started.elapsed().as_secs_f64() };
            results.push(found.told(told));
            model = Some(found.path);
        }
        Ok(model)
    }

    /// The outputs of `model`, or of the source: those that the cache does not have are made together.
    fn outputs(&mut self, model: Option<&Path>, cache: &Cache, how: &How, watch: &dyn Watch) -> Result<Vec<Found>> {
        let named = |step: &Step| PathBuf::from(step.file.file_name().unwrap_or_default());
        let keys = self.lock.output.iter().map(|output| output.key.clone());
        let wanted: Vec<(String, PathBuf)> = keys.zip(self.recipe.outputs.iter().map(named)).collect();
        let of = self.lock.pass.last().map_or(&self.first, |pass| &pass.key).clone();
        let started = Instant::now();
        let mut made: BTreeMap<usize, (Option<Arc<Reuse>>, Built)> = BTreeMap::new();
        let mut hashes = std::mem::take(&mut self.hashes);
        let found = cache.get_all(&wanted, &mut hashes, |missing, hashes| {
            let known = Arc::new(cache.tensors(&of, hashes));
            let mut builds = Vec::new();
            let mut reuses = Vec::new();
            for (n, to) in missing {
                let step = &self.recipe.outputs[*n];
                watch.say(&format!("output {}", self.recipe.relative(&step.file)));
                let reuse = step.has_one_file().then(|| Arc::new(Reuse::new(known.clone())));
                let beside = Beside { reuse: reuse.clone(), journal: Some(to.with_file_name(JOURNAL)), build: None };
                builds.push(self.prepared(*n, model, to, beside, how, watch)?);
                reuses.push(reuse);
            }
            let written = write_all(&builds, watch)?;
            for (((n, to), reuse), (written, built)) in missing.iter().zip(reuses).zip(written) {
                let about = to.with_file_name(WRITTEN);
                fs::write(&about, serde_json::to_vec(&written).unwrap_or_default())
                    .map_err(Error::io("write", &about))?;
                made.insert(*n, (reuse, built));
            }
            Ok(())
        });
        self.hashes = hashes;
        let seconds = started.elapsed().as_secs_f64();
        let mut outputs = Vec::new();
        for (n, (path, kept, _)) in found?.into_iter().enumerate() {
            let locked = &mut self.lock.output[n];
            (locked.bytes, locked.blake3) = (kept.bytes, kept.blake3.clone());
            let built = made.get(&n);
            if let Some((Some(reuse), _)) = built {
                cache.note(&of, &locked.key, &reuse.index())?;
            }
            let (copied, finished) =
                built.map(|(_, built)| (built.measured.copied, built.measured.finished)).unwrap_or_default();
            outputs.push(Found { path, kept, made: built.is_some(), copied, finished, seconds });
        }
        Ok(outputs)
    }

    /// Output `n` of `model`, or of the source, ready to be written at `to`.
    pub(super) fn prepared(
        &self,
        n: usize,
        model: Option<&Path>,
        to: &Path,
        beside_it: Beside,
        how: &How,
        watch: &dyn Watch,
    ) -> Result<Ready> {
        let step = &self.recipe.outputs[n];
        let more = Beside { build: Some(self.provenance(n)), ..beside_it };
        let args = beside(model.unwrap_or(&self.recipe.source), Some(to));
        if step.kind.name == QUANTIZE.name {
            return quantize::prepare(&parsed::<QuantizeArgs>(step, args, threads(how))?, more, watch);
        }
        let container = if step.has_one_file() { "gguf" } else { "safetensors" };
        let args = ["--to".into(), container.into()].into_iter().chain(args).collect();
        convert::prepare(&parsed::<ConvertArgs>(step, args, threads(how))?, more)
    }

    fn measure(
        &mut self,
        outputs: &[Found],
        cache: &Cache,
        how: &How,
        watch: &dyn Watch,
        report: &mut RecipeReport,
    ) -> Result<()> {
        for (n, output) in outputs.iter().enumerate() {
            let file = self.recipe.relative(&self.recipe.outputs[n].file);
            let mut found = Measurement { file, bytes: output.kept.bytes, ..Measurement::default() };
            let about = fs::read(output.path.with_file_name(WRITTEN)).ok();
            found.written = about.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(step) = &self.recipe.eval {
                let source = &self.recipe.source;
                let base = ["--base".into(), source.as_os_str().to_owned()];
                let lines = self.eval_lines(step);
                let key = key_of(&self.lock.output[n].key, &lines);
                let (path, ..) = cache.get(&key, Path::new("eval.json"), &mut self.hashes, |to| {
                    watch.say(&format!("eval {}", found.file));
                    let args = base.into_iter().chain(beside(&output.path, None)).collect();
                    let figures = eval::run(&parsed::<EvalArgs>(step, args, threads(how))?, watch)?;
                    fs::write(to, serde_json::to_vec(&figures).unwrap_or_default()).map_err(Error::io("write", to))
                })?;
                let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
                found.take_eval(&serde_json::from_slice(&bytes).unwrap_or_default());
            }
            if let Some(step) = &self.recipe.bench {
                let args = parsed::<BenchArgs>(step, beside(&output.path, None), Vec::new())?;
                found.decode = bench::run(&args, watch)?.decode();
            }
            report.measurements.push(found);
        }
        Ok(())
    }

    /// What decides an evaluation besides the output.
    fn eval_lines(&self, step: &Step) -> Vec<String> {
        let mut lines = step.lines(|path| self.lock.hash_of(&self.recipe.relative(path)));
        // Levels and threads change no bit, but the base is another model in another recipe.
        lines.extend(self.lock.inputs.values().cloned());
        lines
    }

    /// Outputs get their names, and the lock file is written.
    fn finish(&mut self, outputs: &[Found], how: &How) -> Result<()> {
        if how.locked {
            let other = |(now, then): (&Locked, &Locked)| {
                let name = now.file.as_deref().unwrap_or("the result of a pass");
                (now.blake3 != then.blake3).then(|| format!("{name} has other bytes"))
            };
            let then = self.before.iter().flat_map(|lock| lock.pass.iter().chain(&lock.output));
            let now = self.lock.pass.iter().chain(&self.lock.output);
            let changes: Vec<String> = now.zip(then).filter_map(other).collect();
            if !changes.is_empty() {
                return Err(Error::NotLocked { path: self.lock_path.clone(), changes });
            }
        }
        for (step, output) in self.recipe.outputs.iter().zip(outputs) {
            if !step.file.exists() || self.hashes.of(&step.file)? != output.kept.blake3 {
                publish(&output.path, &step.file)?;
            }
            self.hashes.of(&step.file)?;
        }
        if self.before.as_ref() != Some(&self.lock) {
            self.lock.write(&self.lock_path)?;
        }
        self.hashes.save();
        Ok(())
    }
}

impl Found {
    fn told(&self, what: String) -> KeptResult {
        let Kept { blake3, bytes, .. } = self.kept.clone();
        let Found { made, copied, finished, seconds, .. } = *self;
        KeptResult { what, blake3, bytes, made, copied, finished, seconds }
    }
}

/// The options of a step for the models that it works on.
fn parsed<A: Args>(step: &Step, models: Vec<OsString>, threads: Vec<OsString>) -> Result<A> {
    let arguments: Vec<OsString> = ["--quiet".into()].into_iter().chain(threads).chain(models).collect();
    (step.kind.options)()
        .parse(&step.keys, &arguments)
        .map_err(|wrong| Error::Usage { problem: format!("{}: {}", step.kind.name, wrong.problem), hint: wrong.hint })
}

fn threads(how: &How) -> Vec<OsString> {
    how.threads.iter().flat_map(|threads| ["--threads".into(), threads.to_string().into()]).collect()
}

/// A copy under its own name, whole or not at all.
fn publish(from: &Path, to: &Path) -> Result<()> {
    let folder = parent(to);
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let partial = named_beside(to, ".partial");
    remove(&partial)?;
    let copy = |from: &Path, to: &Path| {
        fs::copy(from, to).and_then(|_| File::open(to)?.sync_all()).map_err(Error::io("write", to))
    };
    if from.is_dir() {
        fs::create_dir(&partial).map_err(Error::io("create", &partial))?;
        for file in files_in(from)? {
            copy(&file, &partial.join(file.file_name().unwrap_or_default()))?;
        }
        if to.exists() {
            return replace_folder(&partial, to);
        }
    } else if fs::hard_link(from, &partial).is_err() {
        // Another file system. Elsewhere both are one file: who changes the output damages the result in the cache, which is
        // seen by its hash and made anew.
        copy(from, &partial)?;
    }
    fs::rename(&partial, to).map_err(Error::io("write", to))
}

impl super::Limits {
    /// Those that are set, as lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let bytes = self.max_bytes.map(|n| format!("max_bytes={n}"));
        let kl = self.max_kl.map(|n| format!("max_kl={n}"));
        let decode = self.min_decode_tokens_per_second.map(|n| format!("min_decode_tokens_per_second={n}"));
        [bytes, kl, decode].into_iter().flatten().collect()
    }

    /// Each limit for each output.
    fn hold(&self, measurements: &[Measurement]) -> Vec<Limit> {
        let limit = |of: &Measurement, name: &'static str, value: Option<f64>, bound: Option<f64>, at_most: bool| {
            let bound = bound?;
            // What was not found does not hold.
            let holds = value.is_some_and(|value| if at_most { value <= bound } else { value >= bound });
            Some(Limit { limit: name, file: of.file.clone(), value, bound, holds })
        };
        let of_one = |of: &Measurement| {
            [
                limit(of, "max_bytes", Some(of.bytes as f64), self.max_bytes.map(|n| n as f64), true),
                limit(of, "max_kl", of.kl, self.max_kl, true),
                limit(of, "min_decode_tokens_per_second", of.decode, self.min_decode_tokens_per_second, false),
            ]
        };
        measurements.iter().flat_map(of_one).flatten().collect()
    }
}
