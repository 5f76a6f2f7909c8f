//! Recipes: what is made of a model, declared in a file, built as far as something changed.
//!
//! A recipe names a source, passes over it, the outputs, how they are measured, and limits that they must keep. Every result
//! has a key, a hash of what it is made from, under which a cache keeps it; the lock file has the keys and hashes of the last
//! run, so that the next one knows what there is to do.
//!
//! ```
//! use tersor::progress::Silent;
//! use tersor::recipe::{Cache, How, Outcome, Recipe, rederive, template};
//!
//! let folder = tempfile::tempdir().unwrap();
//! let path = folder.path().join("tersor.toml");
//! // A recipe to begin with: one output in q4_k_m.
//! std::fs::write(&path, template(&std::env::current_dir().unwrap().join("fixtures/tiny-llama"))?).unwrap();
//! let recipe = Recipe::from_path(&path)?;
//! let cache = Cache::open(Some(&folder.path().join("cache")))?;
//! let mut planned = recipe.resolve(&cache, false)?;
//! assert_eq!(planned.to_do()?, ["no run yet"]);
//! let Outcome::Done(report) = planned.run(&cache, &How::default(), &Silent)? else { panic!("there was something to do") };
//! assert_eq!(report.results[0].what, "build/tiny-llama-Q4_K_M.gguf");
//! assert!(planned.depfile().contains("tiny-llama/model.safetensors"));
//! // The second time there is nothing to do.
//! assert!(matches!(planned.run(&cache, &How::default(), &Silent)?, Outcome::UpToDate));
//! // The file knows how it was made.
//! let file = folder.path().join("build/tiny-llama-Q4_K_M.gguf");
//! let again = rederive(&file, folder.path(), &cache, &How::default(), &Silent)?;
//! assert_eq!(again.differs_at, None);
//! assert_eq!(cache.prune(0)?.0, 1);
//! # Ok::<(), tersor::Error>(())
//! ```

mod cache;
mod check;
mod files;
mod lock;
mod outputs;
mod passes;
mod plan;
mod provenance;
mod read;
mod run;
mod schema;
mod script;

pub use cache::Cache;
pub use plan::Planned;
pub use provenance::{Rederived, rederive};
pub use run::{How, Outcome};
pub use schema::{schema, template};
pub use script::{Script, build, build_in};

use crate::options::keys::{Key, Options, Value, Wrong};
use crate::options::{BenchArgs, CalibrateArgs, ConvertArgs, DistillArgs, EvalArgs, PruneArgs, QuantizeArgs};
use std::path::{Path, PathBuf};

/// A recipe as it was read.
#[derive(Debug)]
pub struct Recipe {
    /// The file.
    pub path: PathBuf,
    /// The model that all begins with.
    source: PathBuf,
    passes: Vec<Step>,
    outputs: Vec<Step>,
    eval: Option<Step>,
    bench: Option<Step>,
    limits: Limits,
}

/// A table of the recipe.
#[derive(Clone, Debug)]
struct Step {
    kind: &'static Kind,
    keys: Vec<Key>,
    /// Files and folders that it reads.
    paths: Vec<PathBuf>,
    /// An output as the recipe names it.
    name: String,
    /// Where it goes.
    file: PathBuf,
    /// Where the table begins.
    at: usize,
}

/// Limits, with what they bound.
const LIMITS: [(&str, &str); 3] = [
    ("max_bytes", "bytes of each output, or a size such as \"100MiB\""),
    ("max_kl", "mean KL from the source in nats, on the text of [eval]"),
    ("min_decode_tokens_per_second", "of each output, as [bench] measures it"),
];

/// Bounds that fail a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Limits {
    /// Of each output.
    max_bytes: Option<u64>,
    /// Mean KL from the source, of each output on the text of `[eval]`.
    max_kl: Option<f64>,
    /// Of each output, as `[bench]` measures it.
    min_decode_tokens_per_second: Option<f64>,
}

/// What a table can be.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// What it does, for the file that `init` writes.
    about: &'static str,
    options: fn() -> Options,
    /// Its keys make sense together.
    check: fn(&Step) -> Result<(), Wrong>,
    /// Grows when the same keys and inputs give other bytes.
    revision: u32,
}

/// Passes, by the `kind` of their tables.
const PASSES: &[Kind] = &[
    Kind {
        name: "prune",
        about: "make weights zero, or take out blocks, heads and channels",
        options: || Options::of::<PruneArgs>(&["text", "type", "rules", "strict", "store", "split_max_size"]),
        check: check::options::<PruneArgs>,
        revision: 1,
    },
    Kind {
        name: "distill",
        about: "let what the passes before left learn from the source",
        options: || Options::of::<DistillArgs>(&["student", "split_max_size"]),
        check: check::options_of_student::<DistillArgs>,
        revision: 1,
    },
];

/// Outputs: those with a `type` are quantized, others keep floats.
const QUANTIZE: Kind = Kind {
    name: "quantize",
    about: "a GGUF file of a type of llama-quantize",
    options: || Options::of::<QuantizeArgs>(&[]),
    check: check::options::<QuantizeArgs>,
    revision: 1,
};
const CONVERT: Kind = Kind {
    name: "convert",
    about: "a GGUF file or a Hugging Face folder with floats",
    options: || Options::of::<ConvertArgs>(&["to"]),
    check: check::options::<ConvertArgs>,
    revision: 1,
};
/// What a calibrated output is made with: a step of its own, since it runs the model.
const CALIBRATE: Kind = Kind {
    name: "calibrate",
    about: "statistics of a model over a text",
    options: || Options::of::<CalibrateArgs>(&["merge"]),
    check: check::options::<CalibrateArgs>,
    revision: 1,
};
const EVAL: Kind = Kind {
    name: "eval",
    about: "what the outputs still know",
    options: || Options::of::<EvalArgs>(&["base"]),
    check: check::options::<EvalArgs>,
    revision: 1,
};
const BENCH: Kind = Kind {
    name: "bench",
    about: "how fast the outputs run",
    options: || Options::of::<BenchArgs>(&["base", "text", "ctx", "chunks", "markdown"]),
    check: check::options::<BenchArgs>,
    revision: 1,
};

impl Key {
    /// `name=value`, with what stands in place of paths.
    fn line(&self, step: &Step, path: impl Fn(&Path) -> String) -> String {
        match &self.value {
            Value::Flag(on) => format!("{}={on}", self.name),
            Value::Values(values) => format!("{}={}", self.name, step.told(values, path).join(",")),
        }
    }
}

impl Step {
    /// Values of one of its keys, with what stands in place of paths.
    fn told(&self, values: &[String], path: impl Fn(&Path) -> String) -> Vec<String> {
        let own = |value: &Path| self.paths.iter().any(|own| own == value);
        let value = |value: &String| if own(value.as_ref()) { path(value.as_ref()) } else { value.clone() };
        values.iter().map(value).collect()
    }

    /// Its result comes from a model's activations, so that the machine may be told from it.
    fn runs_a_model(&self) -> bool {
        self.kind.name == "distill" || self.keys.iter().any(|key| key.name == "calibration")
    }

    /// The step that collects the statistics of an output.
    fn calibration(&self) -> Option<Step> {
        let options = (CALIBRATE.options)();
        let own = |key: &&Key| options.iter().any(|arg| arg.get_id() == key.name.as_str());
        let keys: Vec<Key> = self.keys.iter().filter(own).cloned().collect();
        let calibrates = keys.iter().any(|key| key.name == "calibration");
        calibrates.then(|| Step { kind: &CALIBRATE, keys, ..self.clone() })
    }

    /// The same without what another step does.
    fn without(&self, other: &Step) -> Step {
        let own = |key: &&Key| other.keys.iter().all(|done| done.name != key.name);
        Step { keys: self.keys.iter().filter(own).cloned().collect(), ..self.clone() }
    }

    /// An output that is no folder.
    fn has_one_file(&self) -> bool {
        self.file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
    }

    /// Its kind and keys in one line each, with what stands in place of paths.
    fn lines(&self, path: impl Fn(&Path) -> String) -> Vec<String> {
        let mut lines: Vec<String> = self.keys.iter().map(|key| key.line(self, &path)).collect();
        lines.sort();
        lines.insert(0, format!("{} {}", self.kind.name, self.kind.revision));
        lines
    }
}
