//! Outputs: made together, and given their names.

use super::cache::{Kept, remove};
use super::check::beside;
use super::files::files_in;
use super::run::{How, With};
use super::{Planned, QUANTIZE, Step};
use crate::error::{Error, Result};
use crate::options::{ConvertArgs, QuantizeArgs};
use crate::report::KeptResult;
use crate::run::Reuse;
use crate::sink::{beside as named_beside, parent, replace_folder};
use crate::steps::write::{Beside, Ready, write_all};
use crate::steps::{convert, quantize};
use crate::writing::Built;
use clap::Args;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Beside an output in the cache, what writing it said.
pub(super) const WRITTEN: &str = "written.json";
/// Beside an output that is being made.
const JOURNAL: &str = "journal";

/// A result and how it came about.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) kept: Kept,
    pub(super) made: bool,
    /// Tensors that were found in other outputs.
    pub(super) copied: usize,
    /// Tensors that a run before had finished.
    pub(super) finished: usize,
    pub(super) seconds: f64,
}

impl Planned<'_> {
    /// The outputs of `model`, or of the source: those that the cache does not have are made together.
    pub(super) fn outputs(
        &mut self,
        model: Option<&Path>,
        statistics: &[PathBuf],
        with: &With<'_>,
    ) -> Result<Vec<Found>> {
        let named = |step: &Step| PathBuf::from(step.file.file_name().unwrap_or_default());
        let keys = (0..self.lock.output.len()).map(|n| self.lock.key_of_output(n));
        let wanted: Vec<(String, PathBuf)> = keys.zip(self.recipe.outputs.iter().map(named)).collect();
        let of = self.lock.pass.last().map_or(&self.first, |pass| &pass.blake3).clone();
        let started = Instant::now();
        let mut made: BTreeMap<usize, (Option<Arc<Reuse>>, Built)> = BTreeMap::new();
        let mut hashes = std::mem::take(&mut self.hashes);
        let found = with.cache.get_all(&wanted, &mut hashes, |missing, hashes| {
            let known = Arc::new(with.cache.tensors(&of, hashes));
            let mut builds = Vec::new();
            let mut reuses = Vec::new();
            for (n, to) in missing {
                let step = &self.recipe.outputs[*n];
                with.watch.say(&format!("output {}", self.recipe.relative(&step.file)));
                let reuse = step.has_one_file().then(|| Arc::new(Reuse::new(known.clone())));
                let journal = Some(to.with_file_name(JOURNAL));
                let beside = Beside { reuse: reuse.clone(), journal, hashed: true, build: None };
                builds.push(self.prepared(*n, model, statistics, to, beside, with)?);
                reuses.push(reuse);
            }
            let written = write_all(&builds, with.watch)?;
            for (((n, to), reuse), (written, built)) in missing.iter().zip(reuses).zip(written) {
                built.hashes.iter().try_for_each(|(path, hash)| hashes.learn(path, *hash))?;
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
                with.cache.note(&of, &wanted[n].0, &reuse.index())?;
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
        statistics: &[PathBuf],
        to: &Path,
        beside_it: Beside,
        with: &With<'_>,
    ) -> Result<Ready> {
        let step = &self.recipe.outputs[n];
        let more = Beside { build: Some(self.provenance(n)), ..beside_it };
        let args = beside(model.unwrap_or(&self.recipe.source), Some(to));
        let threads = threads(with.how);
        if step.kind.name != QUANTIZE.name {
            let container = if step.has_one_file() { "gguf" } else { "safetensors" };
            let args = ["--to".into(), container.into()].into_iter().chain(args).collect();
            return convert::prepare(&parsed::<ConvertArgs>(step, args, threads)?, more);
        }
        let Some(n) = self.lock.statistics_of(&self.lock.output[n]) else {
            return quantize::prepare(&parsed::<QuantizeArgs>(step, args, threads)?, more, with.watch);
        };
        let args = ["--imatrix".into(), statistics[n].clone().into()].into_iter().chain(args).collect();
        quantize::prepare(&parsed::<QuantizeArgs>(&step.without(&self.statistics[n]), args, threads)?, more, with.watch)
    }
}

impl Found {
    pub(super) fn told(&self, what: String) -> KeptResult {
        let Kept { blake3, bytes, .. } = self.kept.clone();
        let Found { made, copied, finished, seconds, .. } = *self;
        KeptResult { what, blake3, bytes, made, copied, finished, seconds }
    }
}

/// The options of a step for the models that it works on.
pub(super) fn parsed<A: Args>(step: &Step, models: Vec<OsString>, threads: Vec<OsString>) -> Result<A> {
    let arguments: Vec<OsString> = ["--quiet".into()].into_iter().chain(threads).chain(models).collect();
    (step.kind.options)()
        .parse(&step.keys, &arguments)
        .map_err(|wrong| Error::Usage { problem: format!("{}: {}", step.kind.name, wrong.problem), hint: wrong.hint })
}

pub(super) fn threads(how: &How) -> Vec<OsString> {
    how.threads.iter().flat_map(|threads| ["--threads".into(), threads.to_string().into()]).collect()
}

/// A copy under its own name, whole or not at all.
pub(super) fn publish(from: &Path, to: &Path) -> Result<()> {
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
