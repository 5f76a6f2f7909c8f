//! What comes before the outputs: the results of passes, and statistics.

use super::check::{beside, with_student};
use super::files::Hashes;
use super::lock::{Lock, Locked};
use super::outputs::{Found, parsed, publish, threads};
use super::run::With;
use super::{Planned, Step};
use crate::error::{Error, Result};
use crate::machine::all_threads;
use crate::model::Computed;
use crate::options::{CalibrateArgs, DistillArgs, PruneArgs};
use crate::report::KeptResult;
use crate::steps::{calibrate, distill, prune};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tersor_kernels::Level;

/// Statistics in the cache.
const STATISTICS: &str = "imatrix.gguf";

impl Step {
    /// Make its result at `to`, from `model` and the source of all; gives what a model ran on.
    fn make(&self, [model, source, to]: [&Path; 3], with: &With<'_>) -> Result<Option<Computed>> {
        let (own, threads) = (beside(model, Some(to)), threads(with.how));
        match self.kind.name {
            "prune" => prune::run(&parsed::<PruneArgs>(self, own, threads)?, with.watch).map(|_| None),
            "distill" => {
                let models = with_student(model, source, Some(to));
                match distill::run(&parsed::<DistillArgs>(self, models, threads)?, with.watch)? {
                    distill::Outcome::Learnt(report) => Ok(report.teacher_computed),
                    distill::Outcome::Planned(_) => Ok(None),
                }
            }
            _ => Ok(calibrate::run(&parsed::<CalibrateArgs>(self, own, threads)?, with.watch)?.1),
        }
    }
}

impl Planned<'_> {
    /// The result of the last pass, if there is one.
    pub(super) fn passes(&mut self, with: &With<'_>, results: &mut Vec<KeptResult>) -> Result<Option<PathBuf>> {
        let recipe = self.recipe;
        let mut model = None;
        let name = PathBuf::from(&self.source.name);
        for (n, step) in recipe.passes.iter().enumerate() {
            let told = format!("pass {}: {}", n + 1, step.kind.name);
            let before: &Path = model.as_deref().unwrap_or(&recipe.source);
            let (key, locked) = (self.lock.key_of_pass(n), self.lock.pass[n].clone());
            let (found, locked) = self.result(step, before, (&key, &name), locked, &told, with)?;
            self.lock.pass[n] = locked;
            results.push(found.told(told));
            model = Some(found.path);
        }
        Ok(model)
    }

    /// The statistics that outputs ask for, of `model`, or of the source.
    pub(super) fn collect(
        &mut self,
        model: Option<&Path>,
        with: &With<'_>,
        results: &mut Vec<KeptResult>,
    ) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for n in 0..self.statistics.len() {
            let step = self.statistics[n].clone();
            let model = model.unwrap_or(&self.recipe.source);
            let told = format!("statistics {}", n + 1);
            let (key, locked) = (self.lock.key_of_statistics(n), self.lock.statistics[n].clone());
            let (found, locked) = self.result(&step, model, (&key, STATISTICS.as_ref()), locked, &told, with)?;
            self.lock.statistics[n] = locked;
            results.push(found.told(told));
            paths.push(found.path);
        }
        Ok(paths)
    }

    /// The result of a step: from the cache, from the folder of artifacts, or made.
    fn result(
        &mut self,
        step: &Step,
        model: &Path,
        (key, name): (&str, &Path),
        mut locked: Locked,
        told: &str,
        with: &With<'_>,
    ) -> Result<(Found, Locked)> {
        let started = Instant::now();
        let was = self.before.iter().flat_map(Lock::artifacts).find(|was| was.key == locked.key).cloned();
        let mut hashes = std::mem::take(&mut self.hashes);
        let artifact = was.as_ref().and_then(|was| artifact(with.how.artifacts.as_deref()?, &was.blake3, &mut hashes));
        let mut gpu = None;
        let found = with.cache.get(key, name, &mut hashes, |to| match &artifact {
            Some(path) => publish(path, to),
            None => {
                with.watch.say(told);
                let computed = step.make([model, &self.recipe.source, to], with)?;
                gpu = computed.and_then(|computed| computed.gpu().map(str::to_owned));
                Ok(())
            }
        });
        self.hashes = hashes;
        let (path, kept, new) = found?;
        (locked.bytes, locked.blake3) = (kept.bytes, kept.blake3.clone());
        if step.runs_a_model() {
            let threads = with.how.threads.unwrap_or_else(all_threads);
            let gpu = gpu.map_or(String::new(), |name| format!(", {name}"));
            let at = || format!("{}, {threads} threads{gpu}", Level::best().name());
            let was = was.filter(|was| was.blake3 == kept.blake3).and_then(|was| was.made_at);
            locked.made_at = was.or_else(|| Some(at()));
            if let Some(folder) = &with.how.artifacts {
                keep_artifact(folder, step, &path, &kept.blake3, &mut self.hashes)?;
            }
        }
        let made = new && artifact.is_none();
        let seconds = started.elapsed().as_secs_f64();
        Ok((Found { path, kept, made, copied: 0, finished: 0, seconds }, locked))
    }

    /// Results that the machine may be told from, that the run before `then` had and neither the cache nor the folder of
    /// artifacts has.
    pub(super) fn missing(&self, then: &Lock, with: &With<'_>) -> Vec<String> {
        let mut hashes = with.cache.hashes(false);
        let mut has = |key: &str, locked: &Locked| {
            let folder = with.how.artifacts.as_deref();
            let kept = with.cache.find(key, &mut hashes).is_some_and(|(_, kept)| kept.blake3 == locked.blake3);
            kept || folder.is_some_and(|folder| artifact(folder, &locked.blake3, &mut hashes).is_some())
        };
        // The last pass stands for those before it, and outputs that are in the cache for all.
        if !then.output.is_empty() && (0..then.output.len()).all(|n| has(&then.key_of_output(n), &then.output[n])) {
            return Vec::new();
        }
        let told =
            |what: String, locked: &Locked| format!("the result of {what} ({}) is not in the cache", locked.blake3);
        let passes = (0..then.pass.len()).rev().take_while(|n| !has(&then.key_of_pass(*n), &then.pass[*n]));
        let passes = passes.filter(|n| then.pass[*n].made_at.is_some());
        let mut missing: Vec<String> = passes.map(|n| told(format!("pass {}", n + 1), &then.pass[n])).collect();
        missing.reverse();
        for (n, locked) in then.statistics.iter().enumerate() {
            if !has(&then.key_of_statistics(n), locked) {
                missing.push(told(format!("statistics {}", n + 1), locked));
            }
        }
        missing
    }
}

/// What in `folder` has this hash.
fn artifact(folder: &Path, blake3: &str, hashes: &mut Hashes) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    entries.into_iter().find(|path| hashes.of(path).is_ok_and(|found| found == blake3))
}

/// Put a result into `folder`, unless it is there.
fn keep_artifact(folder: &Path, step: &Step, path: &Path, blake3: &str, hashes: &mut Hashes) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    if artifact(folder, blake3, hashes).is_some() {
        return Ok(());
    }
    let ending = path.extension().filter(|_| path.is_file()).map(|ending| format!(".{}", ending.to_string_lossy()));
    let name = format!("{}-{}{}", step.kind.name, &blake3[..8], ending.unwrap_or_default());
    publish(path, &folder.join(name))
}
