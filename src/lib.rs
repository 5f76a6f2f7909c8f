//! tersor makes trained models small: it reads a Hugging Face checkpoint or a GGUF file, quantizes or converts it, and
//! writes GGUF or safetensors that the ecosystem loads.
//!
//! Data flows one way: source -> arch -> conversion -> plan -> run -> sink -> verify -> report.
pub mod arch;
pub mod bench;
pub mod calib;
pub mod chance;
pub mod cli;
pub mod conversion;
mod digest;
pub mod distill;
pub mod error;
pub mod eval;
pub mod generate;
pub mod gguf;
pub mod machine;
pub mod model;
mod options;
pub mod plan;
pub mod progress;
pub mod prune;
pub mod recipe;
pub mod report;
pub mod run;
pub mod sink;
pub mod source;
mod steps;
pub mod tensor;
pub mod tokenizer;
pub mod verify;
pub mod windows;
pub mod writing;

pub use error::{Error, Result};
pub use recipe::{Recipe, build};

/// Version of the JSON that commands print: grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;
