//! What the user asked for, and how it becomes a plan.

mod card;
mod choose;
mod fallback;
mod file_type;
mod folder;
mod importance;
mod metadata;
mod mix;
mod model;
mod resolve;
mod rule;
#[cfg(test)]
mod tests;

pub use fallback::Fallback;
pub use file_type::{FILE_TYPES, FileType, written_format};
pub(crate) use metadata::{CALIBRATION_TOKENS, RECIPE};
pub use mix::{MIX, Mix, When};
pub use resolve::{Head, Job, resolve};
pub use rule::{Override, Rule};

use crate::calib::Statistics;
use crate::plan::Container;
use std::path::PathBuf;
use std::sync::Arc;
use tersor_kernels::{Effort, Format};

/// Everything that decides the output, besides the source.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// What is written.
    pub container: Container,
    /// The format of weight matrices.
    pub target: Target,
    /// One format throughout, without the file type's exceptions.
    pub pure: bool,
    /// Formats by name; the first match wins.
    pub rules: Vec<Rule>,
    /// Format of the output head.
    pub output_type: Option<&'static Format>,
    /// Format of the token embedding.
    pub embedding_type: Option<&'static Format>,
    /// What rows get that do not divide into blocks.
    pub fallback: Fallback,
    /// Such rows are an error.
    pub strict: bool,
    /// Quantize again what is already below 8 bits.
    pub allow_requantize: bool,
    /// How long encoders look for scales.
    pub effort: Effort,
    /// What an error in a column counts, for the matrices that it has.
    pub importance: Option<Arc<Statistics>>,
    /// Keep NaN and infinity.
    pub allow_non_finite: bool,
    /// Patterns of tensors to leave out.
    pub drop: Vec<String>,
    /// Metadata set last.
    pub overrides: Vec<Override>,
    /// llama.cpp's name of the pre-tokenizer, instead of the detected one.
    pub pre: Option<String>,
    /// A chat template file, instead of the folder's own.
    pub chat_template: Option<PathBuf>,
    /// Count the zeros in what is written, which changes nothing in it.
    pub count_zeros: bool,
    /// What the output tells of how it was made, by key.
    pub told: Vec<(&'static str, String)>,
    /// Largest file; more becomes a split or shards.
    pub max_file_bytes: Option<u64>,
}

/// The format of weight matrices.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// A file type: a format and its exceptions.
    Type(&'static FileType),
    /// Every float in this format.
    Float(&'static Format),
    /// As in the source.
    Keep,
}

/// How [`Conversion::provenance`] says that encoders did not look long.
const FAST: &str = "effort=fast";

/// Stands before the digest of the statistics there.
const IMATRIX: &str = "imatrix=";

/// The effort that a file's provenance tells of.
pub(crate) fn effort_in(provenance: &str) -> Effort {
    if provenance.split(' ').any(|word| word == FAST) { Effort::Fast } else { Effort::Best }
}

/// The digest of the statistics that a file's provenance tells of.
pub(crate) fn imatrix_in(provenance: &str) -> Option<&str> {
    provenance.split(' ').find_map(|word| word.strip_prefix(IMATRIX))
}

impl Conversion {
    /// Nothing but a container and a target.
    pub fn new(container: Container, target: Target) -> Conversion {
        Conversion {
            container,
            target,
            pure: false,
            rules: Vec::new(),
            output_type: None,
            embedding_type: None,
            fallback: Fallback::Llama,
            strict: false,
            allow_requantize: false,
            effort: Effort::Best,
            importance: None,
            allow_non_finite: false,
            drop: Vec::new(),
            overrides: Vec::new(),
            pre: None,
            chat_template: None,
            count_zeros: false,
            told: Vec::new(),
            max_file_bytes: None,
        }
    }

    /// The recipe as one line for the file's provenance: what decides the tensors' bytes, defaults left out.
    pub fn provenance(&self) -> String {
        let mut words = vec![match self.target {
            Target::Type(t) => format!("type={}", t.name),
            Target::Float(f) => format!("dtype={}", f.name),
            Target::Keep => "dtype=keep".into(),
        }];
        let flags = [(self.pure, "pure"), (self.strict, "strict"), (self.allow_non_finite, "allow-non-finite")];
        words.extend(flags.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()));
        words.extend(self.output_type.map(|f| format!("output={}", f.name)));
        words.extend(self.embedding_type.map(|f| format!("embedding={}", f.name)));
        words.extend((self.effort == Effort::Fast).then(|| FAST.to_owned()));
        words.extend(self.importance.iter().map(|s| format!("{IMATRIX}{}", s.digest())));
        if self.fallback != Fallback::Llama {
            words.push(format!("fallback={}", self.fallback));
        }
        words.extend(self.rules.iter().map(|r| format!("rule:{}", r.text)));
        words.extend(self.drop.iter().map(|p| format!("drop:{p}")));
        words.join(" ")
    }
}
