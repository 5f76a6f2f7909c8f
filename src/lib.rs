//! tersor makes trained models small: it reads a Hugging Face checkpoint or a GGUF file, quantizes or converts it, and
//! writes GGUF or safetensors that the ecosystem loads.
//!
//! Data flows one way: source -> arch -> recipe -> plan -> run -> sink -> verify -> report.
pub mod error;
pub mod gguf;
pub mod tensor;
pub mod tokenizer;

pub use error::{Error, Result};
