//! Carrying out what a recipe asks for.

use super::cache::locked;
use super::check::beside;
use super::lock::{Lock, Locked, key_of};
use super::outputs::{Found, WRITTEN, parsed, publish, threads};
use super::{Cache, Planned, Step};
use crate::error::{Error, Result};
use crate::options::{BenchArgs, EvalArgs};
use crate::progress::Watch;
use crate::report::{Limit, Measurement, RecipeReport};
use crate::steps::{bench, eval};
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

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
    /// A folder that keeps what a model was run for, too, and where it is looked for.
    pub artifacts: Option<PathBuf>,
}

/// What came of it.
pub enum Outcome {
    /// There was nothing to do.
    UpToDate,
    /// All of it was done.
    Done(RecipeReport),
    /// A limit does not hold: outputs stay in the cache.
    Failed(RecipeReport),
}

/// What a run works with.
#[derive(Clone, Copy)]
pub(super) struct With<'a> {
    pub(super) cache: &'a Cache,
    pub(super) how: &'a How,
    pub(super) watch: &'a dyn Watch,
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
        let with = &With { cache, how, watch };
        if how.locked {
            self.check_lock(with)?;
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
            None => self.make(with, &mut report)?,
        };
        for (step, found) in self.recipe.outputs.iter().zip(&outputs) {
            report.results.push(found.told(self.recipe.relative(&step.file)));
        }
        self.measure(&outputs, with, &mut report)?;
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
    fn make(&mut self, with: &With<'_>, report: &mut RecipeReport) -> Result<Vec<Found>> {
        let passed = self.passes(with, &mut report.results)?;
        let statistics = self.collect(passed.as_deref(), with, &mut report.results)?;
        self.outputs(passed.as_deref(), &statistics, with)
    }

    /// The outputs where the cache has all of them, and the lock file tells of what they were made from: then that need not be
    /// there.
    fn all_kept(&mut self, cache: &Cache) -> Option<Vec<Found>> {
        let before = self.before.as_ref()?;
        let keys = |lock: &Lock| lock.artifacts().map(|one| one.key.clone()).collect::<Vec<_>>();
        if keys(before) != keys(&self.lock) {
            return None;
        }
        let then = Lock { output: self.lock.output.clone(), ..before.clone() };
        let find = |n| cache.find(&then.key_of_output(n), &mut self.hashes);
        let found = (0..then.output.len()).map(find).collect::<Option<Vec<_>>>()?;
        (self.lock.pass, self.lock.statistics) = (then.pass, then.statistics);
        for (locked, (_, kept)) in self.lock.output.iter_mut().zip(&found) {
            (locked.bytes, locked.blake3) = (kept.bytes, kept.blake3.clone());
        }
        let whole = |(path, kept)| Found { path, kept, made: false, copied: 0, finished: 0, seconds: 0.0 };
        Some(found.into_iter().map(whole).collect())
    }

    /// What a locked run must find as it was.
    fn check_lock(&self, with: &With<'_>) -> Result<()> {
        let not = |changes| Error::NotLocked { path: self.lock_path.clone(), changes };
        let before = self.before.as_ref().ok_or_else(|| not(vec!["there is no lock file".into()]))?;
        let changes = self.lock.changes(before);
        let changes = if changes.is_empty() { self.missing(before, with) } else { changes };
        if changes.is_empty() { Ok(()) } else { Err(not(changes)) }
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

    fn measure(&mut self, outputs: &[Found], with: &With<'_>, report: &mut RecipeReport) -> Result<()> {
        let With { cache, how, watch } = *with;
        for (n, output) in outputs.iter().enumerate() {
            let file = self.recipe.relative(&self.recipe.outputs[n].file);
            let mut found = Measurement { file, bytes: output.kept.bytes, ..Measurement::default() };
            let about = fs::read(output.path.with_file_name(WRITTEN)).ok();
            found.written = about.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(written) = &mut found.written {
                // Where they are in the cache is no one's concern.
                written["source"] = self.recipe.relative(&self.recipe.source).into();
                written["outputs"] = [found.file.as_str()].into();
            }
            if let Some(step) = &self.recipe.eval {
                let source = &self.recipe.source;
                let base = ["--base".into(), source.as_os_str().to_owned()];
                let lines = self.eval_lines(step);
                let key = key_of(&self.lock.key_of_output(n), &lines);
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
            let then = self.before.iter().flat_map(|lock| lock.artifacts().chain(&lock.output));
            let now = self.lock.artifacts().chain(&self.lock.output);
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
