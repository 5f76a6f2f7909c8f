//! What a run keeps on disk, so that it can go on after it was killed.
//!
//! `state.safetensors` has weights and moments in f32 and, as one fact, what the run is and how far it came; it is replaced as
//! a whole. `best.safetensors` has the weights that were best so far, `metrics.jsonl` a line for each step.

use super::{Heldout, Metric, file};
use crate::error::{Error, Result};
use crate::model::train::{AdamW, Network, Parameter};
use crate::sink::beside;
use crate::source::Source;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const STATE: &str = "state.safetensors";
const BEST: &str = "best.safetensors";
const METRICS: &str = "metrics.jsonl";
/// The fact that says what a state is of.
const FACT: &str = "tersor.training";

/// A folder with the state of a run.
pub struct State {
    /// The folder.
    pub folder: PathBuf,
    /// What decides the run, in one text: a state of another run is none of this one's.
    run: String,
    pub(super) reached: Reached,
}

/// How far a run came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Reached {
    pub(super) step: u64,
    pub(super) best: Option<(u64, Heldout)>,
    /// Measurements since.
    pub(super) stale: u64,
    /// Steps of a run that is bound by time; 0 before they are known.
    pub(super) steps: u64,
    /// What all of it took.
    pub(super) seconds: f64,
    /// Before the first step.
    pub(super) before: Option<Heldout>,
}

#[derive(Serialize, Deserialize)]
struct Fact {
    run: String,
    reached: Reached,
}

impl State {
    /// The state of the run that is to give `output`, beside it. `run` tells what decides it.
    ///
    /// # Errors
    /// [`Error::Usage`] when the state of another run is there, unless `anew` lets go of it; [`Error::Io`].
    pub fn open(output: &Path, run: String, anew: bool) -> Result<State> {
        let folder = folder(output);
        if anew && folder.exists() {
            for name in [STATE, BEST, METRICS] {
                remove(&folder.join(name))?;
            }
        }
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let mut state = State { folder, run, reached: Reached::default() };
        if state.saved() {
            let path = state.folder.join(STATE);
            let source = Source::open(&path)?;
            let fact: Option<Fact> = source.fact(FACT).and_then(|fact| serde_json::from_str(fact).ok());
            let wrong = || Error::malformed(&path, FACT, "no state of a run", "what `tersor` left there");
            let fact = fact.ok_or_else(wrong)?;
            if fact.run != state.run {
                let problem = format!(
                    "`{}` has the state of another run:\n  there: {}\n  asked: {}",
                    state.folder.display(),
                    fact.run,
                    state.run
                );
                let hint = "pass the same options to go on with it, `--force` to begin anew, or another `-o`".into();
                return Err(Error::Usage { problem, hint });
            }
            state.reached = fact.reached;
        }
        Ok(state)
    }

    /// A run that is to give `output` was begun.
    pub fn is_begun(output: &Path) -> bool {
        folder(output).join(STATE).is_file()
    }

    /// Steps so far.
    pub fn step(&self) -> u64 {
        self.reached.step
    }

    /// A state is on disk.
    pub fn saved(&self) -> bool {
        self.folder.join(STATE).is_file()
    }

    /// Take weights and moments from disk; false when there are none.
    pub(super) fn load(&self, network: &mut Network, adam: &mut AdamW) -> Result<bool> {
        if !self.saved() {
            remove(&self.folder.join(METRICS))?;
            return Ok(false);
        }
        let source = Source::open(&self.folder.join(STATE))?;
        adam.steps = self.reached.step;
        for (parameter, moments) in network.parameters_mut().iter_mut().zip(&mut adam.moments) {
            let Some([mean, square]) = moments else { continue };
            let name = parameter.name.clone();
            for (kind, values) in [("weight", parameter.own_mut()), ("mean", mean), ("square", square)] {
                read(&source, &format!("{kind}.{name}"), values)?;
            }
        }
        network.make()?;
        self.keep_metrics()?;
        Ok(true)
    }

    pub(super) fn load_best(&self, network: &mut Network) -> Result<()> {
        let source = Source::open(&self.folder.join(BEST))?;
        for parameter in network.parameters_mut().iter_mut().filter(|p| p.trains) {
            let name = format!("weight.{}", parameter.name);
            read(&source, &name, parameter.own_mut())?;
        }
        network.make()
    }

    pub(super) fn save(&self, network: &Network, adam: &AdamW) -> Result<()> {
        let mut tensors = Vec::new();
        for (parameter, moments) in network.parameters().iter().zip(&adam.moments) {
            let Some([mean, square]) = moments else { continue };
            tensors.push(("weight", parameter, parameter.own()));
            tensors.push(("mean", parameter, &mean[..]));
            tensors.push(("square", parameter, &square[..]));
        }
        self.write(STATE, &tensors)
    }

    pub(super) fn save_best(&self, network: &Network) -> Result<()> {
        let trained = network.parameters().iter().filter(|p| p.trains);
        self.write(BEST, &trained.map(|p| ("weight", p, p.own())).collect::<Vec<_>>())
    }

    fn write(&self, name: &str, tensors: &[(&str, &Parameter, &[f32])]) -> Result<()> {
        let fact = serde_json::to_string(&Fact { run: self.run.clone(), reached: self.reached.clone() });
        let facts = json!({ FACT: fact.expect("numbers and texts always print") });
        let named = tensors.iter().map(|(kind, p, values)| (format!("{kind}.{}", p.name), &p.shape[..], *values));
        file::write(&self.folder.join(name), facts, &named.collect::<Vec<_>>())
    }

    /// Add a line to `metrics.jsonl`.
    pub(super) fn note(&self, metric: &Metric) -> Result<()> {
        let path = self.folder.join(METRICS);
        let line = serde_json::to_string(metric).expect("numbers always print") + "\n";
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(Error::io("write", &path))
    }

    /// Lines of steps that a killed run made after its last checkpoint will be written again.
    fn keep_metrics(&self) -> Result<()> {
        let path = self.folder.join(METRICS);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let before = |line: &&str| serde_json::from_str::<Metric>(line).is_ok_and(|m| m.step <= self.reached.step);
        let kept: String = text.lines().filter(before).flat_map(|line| [line, "\n"]).collect();
        fs::write(&path, kept).map_err(Error::io("write", &path))
    }

    /// The weights are where they were wanted: only the metrics stay.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(folder: &Path) -> Result<()> {
        [STATE, BEST].iter().try_for_each(|name| remove(&folder.join(name)))
    }
}

fn folder(output: &Path) -> PathBuf {
    beside(output, ".training")
}

/// What every step gave that `folder` tells of.
///
/// # Errors
/// [`Error::Io`], lines that are not such.
pub fn metrics(folder: &Path) -> Result<Vec<Metric>> {
    let path = folder.join(METRICS);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let wrong = |e: serde_json::Error| Error::malformed(&path, METRICS, e.to_string(), "what `tersor` left there");
    text.lines().map(|line| serde_json::from_str(line).map_err(wrong)).collect()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn read(source: &Source, name: &str, values: &mut Vec<f32>) -> Result<()> {
    let id = source.find(name).ok_or_else(|| Error::MissingTensors { names: vec![name.to_owned()] })?;
    let found = source.values(id)?;
    if found.len() != values.len() {
        let (found, wanted) = (found.len().to_string(), values.len().to_string());
        return Err(Error::malformed(&source.path, format!("tensor `{name}`"), found, wanted));
    }
    *values = found;
    Ok(())
}
