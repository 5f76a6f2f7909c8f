//! Kernels as the driver has them.

use super::{NoDevice, said};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule};
use cudarc::nvrtc::{self, CompileOptions, Ptx};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A file of kernels: its name, its text, and its PTX for compute_75 and compute_80.
struct Source {
    name: &'static str,
    text: &'static str,
    ptx: [&'static str; 2],
}

macro_rules! source {
    ($name:literal) => {
        Source {
            name: $name,
            text: include_str!(concat!("../../cuda/", $name, ".cu")),
            ptx: [
                include_str!(concat!("../../cuda/ptx/compute_75/", $name, ".ptx")),
                include_str!(concat!("../../cuda/ptx/compute_80/", $name, ".ptx")),
            ],
        }
    };
}

static SOURCES: [Source; 14] = [
    source!("attention"),
    source!("dequantize"),
    source!("elementwise"),
    source!("encode_q4_0"),
    source!("encode_q4_k"),
    source!("encode_q8_0"),
    source!("gather"),
    source!("limits"),
    source!("matmul_few"),
    source!("matmul_many"),
    source!("moments"),
    source!("pack_activations"),
    source!("rms_norm"),
    source!("rope"),
];

/// What sources include, `words` all of them.
const WORDS: &str = include_str!("../../cuda/words.cuh");
const HEADERS: [(&str, &str); 4] = [
    ("#include \"formats.cuh\"", include_str!("../../cuda/formats.cuh")),
    ("#include \"mma.cuh\"", include_str!("../../cuda/mma.cuh")),
    ("#include \"packed.cuh\"", include_str!("../../cuda/packed.cuh")),
    ("#include \"search.cuh\"", include_str!("../../cuda/search.cuh")),
];

/// The modules of a device, each loaded when a kernel of it is first launched.
#[derive(Debug)]
pub(super) struct Modules {
    context: Arc<CudaContext>,
    architecture: (i32, i32),
    loaded: Mutex<HashMap<&'static str, Arc<CudaModule>>>,
}

impl Modules {
    pub(super) fn new(context: Arc<CudaContext>, architecture: (i32, i32)) -> Modules {
        Modules { context, architecture, loaded: Mutex::default() }
    }

    /// A kernel of a source.
    pub(super) fn kernel(&self, source: &str, kernel: &str) -> Result<CudaFunction, NoDevice> {
        let failed = |reason: String| NoDevice::Kernel { kernel: kernel.to_owned(), reason };
        let source = SOURCES.iter().find(|own| own.name == source).expect("launches name rows of the table");
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match loaded.get(source.name) {
            Some(module) => module.clone(),
            None => {
                let module = self.load(source).map_err(|e| failed(said(e)))?;
                loaded.insert(source.name, module.clone());
                module
            }
        };
        module.load_function(kernel).map_err(|e| failed(said(e)))
    }

    /// Compiled for the device where NVRTC is there and the driver takes what it makes, otherwise from the PTX that is in the
    /// program.
    fn load(&self, source: &Source) -> Result<Arc<CudaModule>, cudarc::driver::DriverError> {
        let own = self.compiled(source).and_then(|ptx| self.context.load_module(ptx).ok());
        own.map_or_else(
            || self.context.load_module(Ptx::from_src(source.ptx[usize::from(self.architecture.0 >= 8)])),
            Ok,
        )
    }

    fn compiled(&self, source: &Source) -> Option<Ptx> {
        // SAFETY: loads NVRTC's library, if there is one; that runs its initialisers, which it is made for.
        if !unsafe { nvrtc::sys::is_culib_present() } {
            return None;
        }
        let (major, minor) = self.architecture;
        let options = CompileOptions {
            options: vec![
                "--std=c++17".into(),
                "--fmad=false".into(),
                format!("--gpu-architecture=compute_{major}{minor}"),
            ],
            name: Some(format!("{}.cu", source.name)),
            ..CompileOptions::default()
        };
        nvrtc::compile_ptx_with_opts(whole(source), options).ok()
    }
}

/// A source with what it includes, as one text.
fn whole(source: &Source) -> String {
    let headers = HEADERS.iter().filter(|(include, _)| source.text.contains(include)).map(|(_, text)| *text);
    let lines = [WORDS].into_iter().chain(headers).chain([source.text]).flat_map(str::lines);
    let own = lines.filter(|line| !line.starts_with("#include \"") && *line != "#pragma once");
    own.map(|line| format!("{line}\n")).collect()
}
