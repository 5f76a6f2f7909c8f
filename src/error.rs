//! The one error type: what was found, what was wanted, where, and the way out.

use std::io;
use std::path::{Path, PathBuf};

/// Result of everything in this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. [`Error::hint`] gives the way out where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `open`, `read`, `write` ...
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A file does not follow its format.
    #[error("`{}`: {place}: found {found}, wanted {wanted}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What stands there.
        found: String,
        /// What the format asks for.
        wanted: String,
    },
    /// The path holds nothing that tersor reads.
    #[error("`{}` is neither a Hugging Face folder, a safetensors file nor a GGUF file: {found}", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// A recipe that cannot be.
    #[error("`{}`, line {line}, column {column}: {problem}", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        problem: String,
        /// The way out, if there is one to tell.
        hint: String,
    },
    /// What was promised of a run does not hold.
    #[error("`{}`: {}", path.display(), changes.join("; "))]
    NotLocked {
        /// The lock file.
        path: PathBuf,
        /// What differs.
        changes: Vec<String>,
    },
    /// A training run came to numbers that are none.
    #[error("step {step}: the loss is {loss}, the norm of its gradient {gradient}")]
    Diverged {
        /// The step that was not made.
        step: u64,
        /// Its loss.
        loss: f64,
        /// Its gradient's norm.
        gradient: f64,
        /// Where the last good state is.
        kept: Option<PathBuf>,
    },
    /// `org/name` is not in the local cache.
    #[error("`{repo}` is neither a path nor in the Hugging Face cache (`{}`)", cache.display())]
    NotCached {
        /// The repository.
        repo: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// A key of config.json is missing.
    #[error("`{}`: key `{key}` is missing", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// No row of the architecture table fits.
    #[error("`{}`: architecture `{found}` is not known; known are {known}", path.display())]
    UnknownArchitecture {
        /// config.json.
        path: PathBuf,
        /// What it names.
        found: String,
        /// The table.
        known: String,
    },
    /// A setting changes what the model computes and has no place in the output.
    #[error("`{}`: `{key}` is {found}, which {architecture} in GGUF cannot express; it computes {wanted}", path.display())]
    Inexpressible {
        /// config.json.
        path: PathBuf,
        /// The setting.
        key: String,
        /// Its value.
        found: String,
        /// The only value that can be written.
        wanted: String,
        /// The family.
        architecture: &'static str,
    },
    /// The checkpoint is quantized by a method that tersor does not read.
    #[error("`{}`: the weights are quantized with `{method}`, which tersor does not read", path.display())]
    ForeignQuantization {
        /// config.json.
        path: PathBuf,
        /// `quant_method`.
        method: String,
    },
    /// Tensors that no naming rule of the architecture covers.
    #[error("`{architecture}` has no {} of this name: {}", if names.len() == 1 { "tensor" } else { "tensors" }, list(names))]
    UnmatchedTensors {
        /// The family.
        architecture: &'static str,
        /// Their names.
        names: Vec<String>,
    },
    /// Tensors that the architecture needs and the checkpoint lacks.
    #[error("{} missing: {}", count(names.len(), "tensor"), list(names))]
    MissingTensors {
        /// Their names.
        names: Vec<String>,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{tensor}`: shape {found}, the configuration says {wanted}")]
    Shape {
        /// Its name.
        tensor: String,
        /// As stored.
        found: String,
        /// As config.json says.
        wanted: String,
    },
    /// No format or file type of this name.
    #[error("unknown {what} `{name}`; known are {known}")]
    UnknownName {
        /// `format`, `file type` ...
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A format or file type of llama.cpp that tersor does not write.
    #[error("{what} `{name}` is not yet supported, nearest: {nearest}")]
    Unsupported {
        /// `format` or `file type`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The nearest by bits per weight that is written.
        nearest: &'static str,
    },
    /// A rule that cannot be read.
    #[error("rule `{rule}`: {problem}")]
    BadRule {
        /// As typed.
        rule: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A rule that names no tensor of this model.
    #[error("rule `{rule}` matches no tensor")]
    RuleUnmatched {
        /// As typed.
        rule: String,
        /// Some names that it could have meant.
        near: Vec<String>,
    },
    /// Rows that the format's block does not divide.
    #[error("tensor `{tensor}`: rows of {cols} values do not divide into {format} blocks of {block}")]
    Misshapen {
        /// Its name in the output.
        tensor: String,
        /// Values per row.
        cols: u64,
        /// The format.
        format: &'static str,
        /// Its block.
        block: usize,
    },
    /// A tensor's stored type has no decoder.
    #[error("tensor `{tensor}`: {format} has no decoder in tersor, so it cannot become {wanted}")]
    NoDecoder {
        /// Its name.
        tensor: String,
        /// As stored.
        format: &'static str,
        /// As asked.
        wanted: &'static str,
    },
    /// A tensor's type cannot be written into this container.
    #[error("tensor `{tensor}`: {format} cannot be written to {container}")]
    NoEncoder {
        /// Its name.
        tensor: String,
        /// As asked.
        format: &'static str,
        /// `GGUF` or `safetensors`.
        container: &'static str,
    },
    /// A file type that is of no use without an importance matrix.
    #[error("tensor `{tensor}`: {format} in a {file_type} file needs an importance matrix")]
    NeedsImatrix {
        /// Its name.
        tensor: String,
        /// As chosen.
        format: &'static str,
        /// The file type.
        file_type: &'static str,
        /// The file type that needs none.
        instead: &'static str,
    },
    /// The source is quantized already.
    #[error(
        "tensor `{tensor}` is already {format}; quantizing it again to {wanted} loses more than starting from the original"
    )]
    AlreadyQuantized {
        /// Its name.
        tensor: String,
        /// As stored.
        format: &'static str,
        /// As asked.
        wanted: &'static str,
    },
    /// NaN or infinity.
    #[error("tensor `{tensor}`: {value} at row {row}, column {col}")]
    NonFinite {
        /// Its name.
        tensor: String,
        /// From 0.
        row: u64,
        /// From 0.
        col: u64,
        /// The value.
        value: f32,
    },
    /// A GPU that cannot be used, or that stopped.
    #[error("the GPU cannot be used: {reason}")]
    Device {
        /// Why.
        reason: String,
    },
    /// A model that predicts nothing.
    #[error("`{}` predicts nothing: a logit is {logit}", path.display())]
    NoPrediction {
        /// The model.
        path: PathBuf,
        /// Not a finite number.
        logit: f32,
    },
    /// A value or a scale that is too large for the format.
    #[error("tensor `{tensor}`: {value:e} at row {row}, column {col} is too large for {format}")]
    Overflow {
        /// Its name.
        tensor: String,
        /// From 0.
        row: u64,
        /// From 0.
        col: u64,
        /// The value or the scale.
        value: f32,
        /// The format.
        format: &'static str,
    },
    /// The tokenizer's structure has no name in llama.cpp.
    #[error("`{}`: llama.cpp has no name for this pre-tokenizer: {structure}", path.display())]
    UnnamedPre {
        /// tokenizer.json.
        path: PathBuf,
        /// The structure, in short.
        structure: String,
    },
    /// Something about the tokenizer that cannot be carried over.
    #[error("`{}`: {problem}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A command-line value that fits no place.
    #[error("{problem}")]
    Usage {
        /// What is wrong.
        problem: String,
        /// What to write instead.
        hint: String,
    },
    /// The output is there already.
    #[error("`{}` exists", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Another run holds the output.
    #[error("`{}` is being written by another run", path.display())]
    Busy {
        /// The partial file.
        path: PathBuf,
    },
    /// Not enough room.
    #[error("`{}` has {free} free, the output needs {needed}", path.display())]
    DiskSpace {
        /// The folder.
        path: PathBuf,
        /// In words.
        free: String,
        /// In words.
        needed: String,
    },
    /// Not enough memory.
    #[error("the plan needs {needed} of memory at {threads} threads, {found}")]
    Memory {
        /// In words.
        needed: String,
        /// Worker threads.
        threads: usize,
        /// The limit, in words.
        found: String,
    },
    /// Ctrl-C or a termination signal.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// The file was written but does not check out.
    #[error("`{}` failed its check: {problem}", path.display())]
    Unverified {
        /// The output.
        path: PathBuf,
        /// What differs.
        problem: String,
    },
}

impl Error {
    /// What to do about it, where tersor knows.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Recipe { hint, .. } if hint.is_empty() => return None,
            Error::Recipe { hint, .. } => hint.clone(),
            Error::NotLocked { .. } => "run without `--locked` to take the changes over into the lock file".into(),
            Error::NotCached { repo, .. } => format!("hf download {repo}"),
            Error::Diverged { kept, .. } => {
                let kept = kept
                    .as_ref()
                    .map_or(String::new(), |path| format!("; the last good state is in `{}`", path.display()));
                format!("pass a smaller `--lr`, a longer `--warmup` or a smaller `--clip`{kept}")
            }
            Error::NotAModel { .. } => "give the folder that holds config.json and model.safetensors".into(),
            Error::Inexpressible { key, .. } if key == "sliding_window" => {
                "if your texts stay shorter than the window, set it to null in a copy of config.json".into()
            }
            Error::Shape { .. } | Error::MissingTensors { .. } => {
                "config.json and the weights must be of one model, and the download complete".into()
            }
            Error::MissingKey { path, .. } if path.ends_with("config.json") => {
                "config.json must be the one that transformers wrote for this model".into()
            }
            Error::UnknownArchitecture { .. } => {
                "convert it to GGUF with llama.cpp first: tersor requantizes every GGUF family".into()
            }
            Error::ForeignQuantization { .. } => "start from the unquantized checkpoint".into(),
            Error::UnmatchedTensors { .. } => "if the model does not need them, drop each with `--drop PATTERN`".into(),
            Error::RuleUnmatched { near, .. } if !near.is_empty() => format!("names here look like {}", list(near)),
            Error::Misshapen { .. } => {
                "add a rule with a format that divides the row, or pass `--fallback llama` or `auto` without `--strict`"
                    .into()
            }
            Error::NeedsImatrix { instead, .. } => {
                format!("pass `--imatrix` or `--calibration`; `--type {instead}` needs none")
            }
            Error::AlreadyQuantized { .. } => "pass `--allow-requantize` to do it all the same".into(),
            Error::NonFinite { .. } => {
                "pass `--allow-non-finite` to keep such values; mxfp4 and nvfp4 cannot hold them".into()
            }
            Error::Device { .. } => "`--device auto` takes the CPU where there is no GPU, `--device cpu` always".into(),
            Error::NoPrediction { .. } => "look for damaged weights with `tersor verify`, or quantize it anew".into(),
            Error::Overflow { .. } => {
                "add a rule that gives this tensor f32, bf16 or a format with smaller scales".into()
            }
            Error::UnnamedPre { .. } => {
                "name the llama.cpp pre-tokenizer that splits text the same way with `--pre NAME`".into()
            }
            Error::Exists { .. } => "pass `--force` to replace it, or another `-o`".into(),
            Error::DiskSpace { .. } => "free some space, or write elsewhere with `-o`".into(),
            Error::Memory { .. } => "raise `--memory` or lower `--threads`".into(),
            Error::Usage { hint, .. } => hint.clone(),
            _ => return None,
        };
        Some(hint)
    }

    /// The operating system's refusal to `action` the file at `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }

    /// A file that does not follow its format.
    pub fn malformed(
        path: &Path,
        place: impl Into<String>,
        found: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Error {
        Error::Malformed { path: path.to_owned(), place: place.into(), found: found.into(), wanted: wanted.into() }
    }

    /// Values that a format cannot hold.
    pub(crate) fn unwritable(tensor: &str, format: &str) -> Error {
        Error::Usage {
            problem: format!("tensor `{tensor}` cannot be written as {format}"),
            hint: "look for NaN and infinity in it, or choose another format".into(),
        }
    }
}

/// `1 tensor`, `2 tensors`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// `1.5 GB`, in powers of a thousand as disks and the Hub count.
pub(crate) fn human_bytes(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.iter().find(|(_, size)| bytes as f64 >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / size),
        None => format!("{bytes} bytes"),
    }
}

/// The first few names, and how many more.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}
