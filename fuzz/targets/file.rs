//! Any bytes as a GGUF or safetensors file: opened, planned, and written where a plan can be made.
#![no_main]

mod workshop;

use libfuzzer_sys::fuzz_target;
use std::fs;
use tersor::Error;
use workshop::{folder, quantize};

fuzz_target!(|data: &[u8]| {
    let dir = folder();
    let model = dir.join("model");
    fs::write(&model, data).expect("a file in memory");
    if let Err(error @ Error::Unverified { .. }) = quantize(&model, dir) {
        panic!("{error}");
    }
});
