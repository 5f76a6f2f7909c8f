//! From a [`Recipe`] to what there is to do: a key for every result, before anything is computed.

use super::files::{Hashes, files_of};
use super::lock::{Lock, Locked, key_of};
use super::{Cache, Recipe, Step};
use crate::error::{Error, Result};
use crate::run::ENCODERS;
use crate::source::Source;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A recipe whose inputs are known.
pub struct Planned<'r> {
    pub(super) recipe: &'r Recipe,
    pub(super) source: Source,
    /// The key of the source.
    pub(super) first: String,
    /// What outputs calibrate with.
    pub(super) statistics: Vec<Step>,
    /// What is asked for; results are filled in by a run.
    pub(super) lock: Lock,
    /// The lock file.
    pub(super) lock_path: PathBuf,
    /// That of the last run.
    pub(super) before: Option<Lock>,
    /// All that is read: first the files of the source.
    pub(super) inputs: Vec<PathBuf>,
    /// Their names in the lock file.
    pub(super) names: Vec<String>,
    pub(super) model_files: usize,
    pub(super) hashes: Hashes,
}

impl Recipe {
    /// Open the source and hash every input; with `rehash` those too that seem unchanged.
    ///
    /// # Errors
    /// [`crate::Error::Io`] and whatever makes the source no model; a lock file that cannot be read.
    pub fn resolve(&self, cache: &Cache, rehash: bool) -> Result<Planned<'_>> {
        let source = Source::open(&self.source)?;
        let mut hashes = cache.hashes(rehash);
        let mut inputs = files_of(&source)?;
        let own = inputs.len();
        let steps = || self.passes.iter().chain(&self.outputs).chain(&self.eval).chain(&self.bench);
        let mut others: Vec<PathBuf> = steps().flat_map(|step| step.paths.iter().cloned()).collect();
        others.sort();
        others.dedup();
        inputs.extend(others);
        let mut by_path = BTreeMap::new();
        let mut names = Vec::new();
        // A model from the Hub lies elsewhere on other machines.
        let named = |path: &Path| match path.strip_prefix(&source.path) {
            Ok(rest) if !rest.as_os_str().is_empty() => self.relative(&self.source.join(rest)),
            _ => self.relative(path),
        };
        let mut first = blake3::Hasher::new();
        // The name of the model is in its outputs.
        first.update(source.name.as_bytes()).update(&[0]);
        for (n, path) in inputs.iter().enumerate() {
            let hash = hashes.of(path)?;
            if n < own {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                first.update(name.as_bytes()).update(&[0]).update(hash.as_bytes());
            }
            let name = named(path);
            by_path.insert(name.clone(), hash);
            names.push(name);
        }
        let shown = |step: &Step| step.lines(|path| self.relative(path));
        let mut beside: Vec<String> = self.eval.iter().chain(&self.bench).flat_map(shown).collect();
        beside.extend(self.limits.lines());
        let mut lock = Lock::new(beside, by_path);
        let key_lines = |step: &Step| step.lines(|path| lock.hash_of(&self.relative(path)));
        let first = first.finalize().to_hex().to_string();
        let mut key = first.clone();
        let mut passes = Vec::new();
        for pass in &self.passes {
            key = key_of(&key, &key_lines(pass));
            passes.push(Locked::new(None, shown(pass), key.clone()));
        }
        let mut statistics: Vec<Step> = Vec::new();
        let mut collected: Vec<Locked> = Vec::new();
        let mut outputs = Vec::new();
        for step in &self.outputs {
            let mut lines = key_lines(step);
            // Outputs have that in them.
            lines.push(self.of_output(step));
            lines.push(format!("encoders {ENCODERS}"));
            let mut output = Locked::new(Some(step.name.clone()), shown(step), key_of(&key, &lines));
            if let Some(calibration) = step.calibration() {
                let key = key_of(&key, &key_lines(&calibration));
                output.statistics = Some(key.clone());
                if collected.iter().all(|other| other.key != key) {
                    collected.push(Locked::new(None, shown(&calibration), key));
                    statistics.push(calibration);
                }
            }
            outputs.push(output);
        }
        (lock.pass, lock.statistics, lock.output) = (passes, collected, outputs);
        let lock_path = self.path.with_extension("lock");
        let before = Lock::read(&lock_path)?;
        hashes.save();
        let (recipe, model_files) = (self, own);
        Ok(Planned { recipe, source, first, statistics, lock, lock_path, before, inputs, names, model_files, hashes })
    }

    /// A path as the lock file has it: from the recipe's folder on where it is in it.
    pub(super) fn relative(&self, path: &Path) -> String {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned()
    }
}

impl Locked {
    fn new(file: Option<String>, options: Vec<String>, key: String) -> Locked {
        Locked { file, options, key, statistics: None, made_at: None, bytes: 0, blake3: String::new() }
    }
}

impl Planned<'_> {
    /// What there is to do, in words; nothing where all is as the last run left it.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn to_do(&mut self) -> Result<Vec<String>> {
        let Some(before) = &self.before else { return Ok(vec!["no run yet".to_owned()]) };
        let mut reasons = self.lock.changes(before);
        let keys = |lock: &Lock| lock.pass.iter().chain(&lock.output).map(|one| one.key.clone()).collect::<Vec<_>>();
        if reasons.is_empty() && keys(&self.lock) != keys(before) {
            reasons.push("something that results are made from changed".into());
        }
        for (step, output) in self.recipe.outputs.iter().zip(&before.output) {
            if !step.file.exists() {
                reasons.push(format!("`{}` is not there", step.file.display()));
            } else if self.hashes.of(&step.file)? != output.blake3 {
                reasons.push(format!("`{}` is not what the last run wrote", step.file.display()));
            }
        }
        self.hashes.save();
        Ok(reasons)
    }

    /// Outputs that are older than an input become as new as the newest of them: what they hold is up to date, and build systems
    /// tell that by times. They do not become newer: the clock is ahead of the times that files get by a tick of up to 10 ms, and
    /// what is written within that would seem old.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn touch(&self) -> Result<()> {
        let time = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).map_err(Error::io("open", path));
        let newest =
            self.inputs.iter().chain([&self.recipe.path]).map(|path| time(path)).collect::<Result<Vec<_>>>()?;
        let newest = newest.into_iter().max().unwrap_or(SystemTime::UNIX_EPOCH);
        for file in self.recipe.outputs.iter().map(|output| &output.file).filter(|file| file.exists()) {
            if time(file)? < newest {
                let touched = File::open(file).and_then(|opened| opened.set_modified(newest));
                touched.map_err(Error::io("write", file))?;
            }
        }
        Ok(())
    }

    /// A rule for Make and Ninja: the outputs depend on all inputs.
    pub fn depfile(&self) -> String {
        let escaped = |path: &Path| path.to_string_lossy().replace('$', "$$").replace(' ', "\\ ").replace('#', "\\#");
        let targets: Vec<String> = self.recipe.outputs.iter().map(|output| escaped(&output.file)).collect();
        let inputs = [self.recipe.path.clone()].into_iter().chain(self.inputs.iter().cloned());
        let inputs: Vec<String> = inputs.map(|path| format!(" \\\n  {}", escaped(&path))).collect();
        format!("{}:{}\n", targets.join(" "), inputs.concat())
    }
}
