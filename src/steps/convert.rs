//! `tersor convert`.

use super::write::{self, Beside, Ready, Written};
use crate::conversion::{Conversion, Target, written_format};
use crate::error::Result;
use crate::options::{ContainerArg, ConvertArgs, Dtype};
use crate::plan::Container;
use crate::progress::Watch;
use crate::source::{Origin, Source};

pub(crate) fn run(args: &ConvertArgs, watch: &dyn Watch) -> Result<Written> {
    let build = prepare(args, Beside::default())?;
    write::finish(&build, &args.write, watch)
}

/// Decide everything.
pub(crate) fn prepare(args: &ConvertArgs, beside: Beside) -> Result<Ready> {
    let container = match args.to {
        Some(ContainerArg::Gguf) => Container::Gguf,
        Some(ContainerArg::Safetensors) => Container::Safetensors,
        None => match Source::open(&args.model)?.origin {
            Origin::Gguf { .. } => Container::Safetensors,
            _ => Container::Gguf,
        },
    };
    let target = match args.dtype {
        None => Target::Keep,
        Some(Dtype::F32) => Target::Float(written_format("f32")?),
        Some(Dtype::F16) => Target::Float(written_format("f16")?),
        Some(Dtype::Bf16) => Target::Float(written_format("bf16")?),
    };
    let conversion = write::with_model_options(Conversion::new(container, target), &args.model_options, &args.write);
    write::prepare(&args.model, &conversion, &args.write, beside)
}
