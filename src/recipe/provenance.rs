//! What a file tells of how it was made, and making it again from that.

use super::cache::remove;
use super::lock::Lock;
use super::run::With;
use super::{Cache, How, Planned, Recipe, Step};
use crate::error::{Error, Result};
use crate::options::keys::Value;
use crate::progress::Watch;
use crate::source::{BUILT, Source};
use crate::steps::write::{Beside, write_all};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// The part of a recipe that an output comes from, as it stands in the output.
#[derive(Debug, Serialize, Deserialize)]
struct Provenance {
    /// The version that made it.
    tersor: String,
    /// The source, the passes and this output, as a recipe.
    recipe: String,
    /// BLAKE3 of all files that it was made from.
    inputs: BTreeMap<String, String>,
    /// BLAKE3 of what each pass gave.
    passes: Vec<String>,
    /// BLAKE3 of the statistics that were collected for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statistics: Option<String>,
}

/// How a file compares with what its own recipe gives.
#[derive(Debug, Serialize)]
pub struct Rederived {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The first byte that is another; nothing where all are the same.
    pub differs_at: Option<u64>,
}

impl Planned<'_> {
    /// The text that output `n` has in it.
    pub(super) fn provenance(&self, n: usize) -> String {
        let (recipe, output) = (self.recipe, &self.recipe.outputs[n]);
        let steps = || recipe.passes.iter().chain([output]);
        let own = |path: &String| steps().flat_map(|step| &step.paths).any(|own| recipe.relative(own) == *path);
        let model = &self.names[..self.model_files];
        let inputs = self.lock.inputs.iter().filter(|(path, _)| model.contains(path) || own(path));
        let statistics = self.lock.statistics_of(&self.lock.output[n]);
        let provenance = Provenance {
            tersor: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: recipe.of_output(output),
            inputs: inputs.map(|(path, hash)| (path.clone(), hash.clone())).collect(),
            passes: self.lock.pass.iter().map(|pass| pass.blake3.clone()).collect(),
            statistics: statistics.map(|n| self.lock.statistics[n].blake3.clone()),
        };
        serde_json::to_string(&provenance).expect("texts and tables of them")
    }
}

impl Recipe {
    /// The part that an output comes from, whatever it is called.
    pub(super) fn of_output(&self, output: &Step) -> String {
        let text = |value: &str| toml::Value::from(value).to_string();
        let mut lines = vec![format!("source = {}", text(&self.relative(&self.source)))];
        for pass in &self.passes {
            lines.extend(["[[pass]]".to_owned(), format!("kind = {}", text(pass.kind.name))]);
            lines.extend(keys(self, pass));
        }
        let file = if output.has_one_file() { "output.gguf" } else { "output" };
        lines.extend(["[[output]]".to_owned(), format!("file = {}", text(file))]);
        lines.extend(keys(self, output));
        lines.join("\n") + "\n"
    }
}

/// The keys of a step as lines of a recipe, in order of their names.
fn keys(recipe: &Recipe, step: &Step) -> Vec<String> {
    let line = |key: &super::Key| match &key.value {
        Value::Flag(on) => format!("{} = {on}", key.name),
        Value::Values(values) => {
            let told = step.told(values, |path| recipe.relative(path));
            let values: Vec<toml::Value> = told.into_iter().map(Into::into).collect();
            match &values[..] {
                [one] => format!("{} = {one}", key.name),
                all => format!("{} = {}", key.name, toml::Value::from(all.to_vec())),
            }
        }
    };
    let mut lines: Vec<String> = step.keys.iter().map(line).collect();
    lines.sort();
    lines
}

/// Make `file` again from the recipe in it, whose paths are relative to `folder`, and compare.
///
/// # Errors
/// [`Error::Usage`] for a file without a recipe, [`Error::NotLocked`] where inputs differ from those that it was made from or
/// a pass that runs a model is not in the cache; whatever keeps it from being made.
pub fn rederive(file: &Path, folder: &Path, cache: &Cache, how: &How, watch: &dyn Watch) -> Result<Rederived> {
    let source = Source::open(file)?;
    let told = source.fact(BUILT).and_then(|text| serde_json::from_str::<Provenance>(text).ok());
    let told = told.ok_or_else(|| Error::Usage {
        problem: format!("`{}` does not say what it was made from", file.display()),
        hint: "outputs of `tersor run` do; compare others with `--base MODEL`".into(),
    })?;
    let recipe = Recipe::from_text(&folder.join("the recipe in the file"), &told.recipe)?;
    let mut planned = recipe.resolve(cache, true)?;
    let not = |changes| Err(Error::NotLocked { path: file.to_owned(), changes });
    let with = &With { cache, how, watch };
    let then = planned.told_by(&told);
    let changes = [planned.other_inputs(&told), planned.missing(&then, with)].concat();
    if !changes.is_empty() {
        return not(changes);
    }
    planned.before = Some(then);
    let model = planned.passes(with, &mut Vec::new())?;
    let statistics = planned.collect(model.as_deref(), with, &mut Vec::new())?;
    let pairs = planned.lock.artifacts().zip(planned.before.iter().flat_map(Lock::artifacts));
    let other = pairs.filter(|(now, then)| now.blake3 != then.blake3);
    let other = other.map(|(now, then)| format!("{} gave {}, it was {}", now.options[0], now.blake3, then.blake3));
    let changes: Vec<String> = other.collect();
    if !changes.is_empty() {
        return not(changes);
    }
    let again = Again(cache.folder.join(format!("rederived-{}.gguf", std::process::id())));
    let build = planned.prepared(0, model.as_deref(), &statistics, &again.0, Beside::default(), with)?;
    write_all(&[build], watch)?;
    let (differs_at, bytes) = first_difference(file, &again.0)?;
    Ok(Rederived { file: file.to_owned(), bytes, differs_at })
}

impl Planned<'_> {
    /// Inputs that are not those that a file was made from.
    fn other_inputs(&self, told: &Provenance) -> Vec<String> {
        let other = |(path, hash): (&String, &String)| match self.lock.inputs.get(path) {
            None => Some(format!("`{path}` is not there")),
            Some(now) => (now != hash).then(|| format!("`{path}` changed")),
        };
        told.inputs.iter().filter_map(other).collect()
    }

    /// The lock file of the run that made a file, but for the output.
    fn told_by(&self, told: &Provenance) -> Lock {
        let mut then = Lock { output: Vec::new(), ..self.lock.clone() };
        for ((locked, step), blake3) in then.pass.iter_mut().zip(&self.recipe.passes).zip(&told.passes) {
            locked.blake3 = blake3.clone();
            locked.made_at = step.runs_a_model().then(String::new);
        }
        for (locked, blake3) in then.statistics.iter_mut().zip(&told.statistics) {
            locked.blake3 = blake3.clone();
        }
        then
    }
}

/// A file that goes away.
struct Again(PathBuf);

impl Drop for Again {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

/// Where two files differ first, and the length of the first one.
fn first_difference(a: &Path, b: &Path) -> Result<(Option<u64>, u64)> {
    let open = |path: &Path| File::open(path).map(BufReader::new).map_err(Error::io("open", path));
    let (mut left, mut right) = (open(a)?.bytes(), open(b)?.bytes());
    let mut at = 0;
    loop {
        let (x, y) = (left.next().transpose(), right.next().transpose());
        match (x.map_err(Error::io("read", a))?, y.map_err(Error::io("read", b))?) {
            (None, None) => return Ok((None, at)),
            (x, y) if x == y => at += 1,
            _ => return Ok((Some(at), std::fs::metadata(a).map_err(Error::io("open", a))?.len())),
        }
    }
}
