//! What a run keeps on disk, so that it can go on after it was killed.
//!
//! `state.safetensors` has weights and moments in f32 and, as one fact, what the run is and how far it came; it is replaced as
//! a whole. `best.safetensors` has the weights that were best so far, `metrics.jsonl` a line for each step.

use super::{Heldout, Metric};
use crate::error::{Error, Result};
use crate::model::train::{AdamW, Network, Parameter};
use crate::sink::beside;
use crate::source::Source;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
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
        let folder = beside(output, ".training");
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
            for (kind, values) in [("weight", &mut parameter.values), ("mean", mean), ("square", square)] {
                read(&source, &format!("{kind}.{}", parameter.name), values)?;
            }
        }
        self.keep_metrics()?;
        Ok(true)
    }

    pub(super) fn load_best(&self, network: &mut Network) -> Result<()> {
        let source = Source::open(&self.folder.join(BEST))?;
        for parameter in network.parameters_mut().iter_mut().filter(|p| p.trains) {
            read(&source, &format!("weight.{}", parameter.name), &mut parameter.values)?;
        }
        Ok(())
    }

    pub(super) fn save(&self, network: &Network, adam: &AdamW) -> Result<()> {
        let mut tensors = Vec::new();
        for (parameter, moments) in network.parameters().iter().zip(&adam.moments) {
            let Some([mean, square]) = moments else { continue };
            tensors.push(("weight", parameter, &parameter.values));
            tensors.push(("mean", parameter, mean));
            tensors.push(("square", parameter, square));
        }
        self.write(STATE, &tensors)
    }

    pub(super) fn save_best(&self, network: &Network) -> Result<()> {
        let trained = network.parameters().iter().filter(|p| p.trains);
        self.write(BEST, &trained.map(|p| ("weight", p, &p.values)).collect::<Vec<_>>())
    }

    /// A file of f32, whole or not at all.
    fn write(&self, name: &str, tensors: &[(&str, &Parameter, &Vec<f32>)]) -> Result<()> {
        let path = self.folder.join(name);
        let partial = beside(&path, ".partial");
        let mut header = Map::new();
        let fact = serde_json::to_string(&Fact { run: self.run.clone(), reached: self.reached.clone() });
        header.insert("__metadata__".into(), json!({ FACT: fact.expect("numbers and texts always print") }));
        let mut at = 0;
        for (kind, parameter, values) in tensors {
            let end = at + 4 * values.len();
            let entry = json!({ "dtype": "F32", "shape": parameter.shape, "data_offsets": [at, end] });
            header.insert(format!("{kind}.{}", parameter.name), entry);
            at = end;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let all = || -> std::io::Result<()> {
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            for value in tensors.iter().flat_map(|(_, _, values)| *values) {
                file.write_all(&value.to_le_bytes())?;
            }
            file.into_inner()?.sync_all()?;
            fs::rename(&partial, &path)
        };
        all().map_err(|e| {
            let _ = fs::remove_file(&partial);
            Error::io("write", &path)(e)
        })
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
