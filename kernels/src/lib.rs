//! The numeric heart of tersor: storage formats and SIMD kernels.
//!
//! This crate knows slices and blocks; it knows no tensors, models or files. Every kernel body is one piece of code,
//! compiled once per [`Level`], and gives the same bytes at each of them.
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod format;
pub mod matmul;
pub mod ops;
mod simd;

pub use format::{
    BadValue, Class, Codec, Decode, Effort, Encode, Encoding, FORMATS, Fit, Format, Importance, NonFinite,
};
pub use simd::{LEVEL_VARIABLE, Level};
