//! What a model file or folder holds.

use crate::SCHEMA;
use crate::arch;
use crate::plan::by_format;
use crate::source::{HISTORY, Origin, Source};
use serde::Serialize;
use std::path::PathBuf;

/// `inspect`.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// What was opened.
    pub path: PathBuf,
    /// `safetensors` or `gguf`.
    pub container: &'static str,
    /// The family, where it is named.
    pub architecture: Option<String>,
    /// config.json or the metadata keys, as name and shortened value.
    pub facts: Vec<(String, String)>,
    /// Every tensor.
    pub tensors: Vec<InspectedTensor>,
    /// Per format: name, tensors, bytes.
    pub formats: Vec<(&'static str, usize, u64)>,
    /// Number of values.
    pub weights: u64,
    /// Bytes of tensor data.
    pub tensor_bytes: u64,
    /// Bytes of the files.
    pub file_bytes: u64,
    /// Average storage cost of a value.
    pub bits_per_weight: f64,
}

/// One tensor.
#[derive(Debug, Serialize)]
pub struct InspectedTensor {
    /// Its name.
    pub name: String,
    /// Sizes, slowest first.
    pub shape: Vec<u64>,
    /// How it is stored.
    pub format: &'static str,
    /// Bytes of its data.
    pub bytes: u64,
    /// Zeros among its values, where they were counted and can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeros: Option<u64>,
}

impl Inspection {
    /// Look at a source; no weight is read.
    pub fn new(source: &Source) -> Inspection {
        let (container, architecture, facts) = match &source.origin {
            Origin::Gguf { metadata } => {
                let facts = metadata.iter().map(|(k, v)| (k.to_owned(), shorten(&v.to_string()))).collect();
                ("gguf", metadata.text("general.architecture").map(str::to_owned), facts)
            }
            Origin::HuggingFace { config, .. } => {
                let known = arch::architecture_of(&source.config_path(), config).ok().map(|a| a.gguf.to_owned());
                let class = config.get("model_type").and_then(|v| v.as_str()).map(str::to_owned);
                let facts = config.iter().map(|(k, v)| (k.clone(), shorten(&v.to_string()))).collect();
                ("safetensors", known.or(class), facts)
            }
            Origin::Bare => ("safetensors", None, Vec::new()),
        };
        let formats = by_format(source.tensors().iter().map(|t| (t.format, t.bytes)));
        let formats = formats.into_iter().map(|(f, tensors, bytes)| (f.name, tensors, bytes)).collect();
        let weights = source.tensors().iter().map(|t| t.shape.values()).sum();
        let tensor_bytes = source.tensors().iter().map(|t| t.bytes).sum();
        let row = |t: &crate::tensor::TensorInfo| InspectedTensor {
            name: t.name.clone(),
            shape: t.shape.dims().to_vec(),
            format: t.format.name,
            bytes: t.bytes,
            zeros: None,
        };
        let told = HISTORY.iter().filter(|_| container == "safetensors");
        let told = told.filter_map(|key| Some(((*key).to_owned(), source.fact(key)?.to_owned())));
        let facts: Vec<_> = told.chain(facts).collect();
        Inspection {
            schema: SCHEMA,
            path: source.path.clone(),
            container,
            architecture,
            facts,
            tensors: source.tensors().iter().map(row).collect(),
            formats,
            weights,
            tensor_bytes,
            file_bytes: source.bytes(),
            bits_per_weight: 8.0 * tensor_bytes as f64 / weights.max(1) as f64,
        }
    }

    /// Add what [`Source::zeros`] counted.
    pub fn set_zeros(&mut self, zeros: Vec<Option<u64>>) {
        self.tensors.iter_mut().zip(zeros).for_each(|(t, zeros)| t.zeros = zeros);
    }
}

/// One line of at most eighty characters.
fn shorten(text: &str) -> String {
    const WIDTH: usize = 80;
    let line = text.replace('\n', "\\n");
    if line.chars().count() <= WIDTH { line } else { line.chars().take(WIDTH - 3).chain("...".chars()).collect() }
}
