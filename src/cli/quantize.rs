//! `tersor quantize`.

use super::args::{EffortArg, QuantizeArgs, WriteArgs};
use super::{calibrate, write};
use crate::calib::Statistics;
use crate::error::Result;
use crate::plan::Container;
use crate::recipe::{Recipe, Target};
use std::process::ExitCode;
use std::sync::Arc;
use tersor_kernels::Effort;

pub(super) fn run(args: &QuantizeArgs) -> Result<ExitCode> {
    let statistics = match (&args.imatrix, &args.calibration.calibration) {
        (Some(file), _) => Some(Statistics::read(file)?),
        (None, Some(text)) => {
            let WriteArgs { threads, memory, quiet, .. } = args.write;
            let run = calibrate::Run { threads, memory, quiet, keep: None };
            Some(calibrate::statistics(&args.model, text, &args.calibration, &run)?)
        }
        (None, None) => None,
    };
    let recipe = Recipe {
        importance: statistics.map(Arc::new),
        pure: args.pure,
        output_type: args.output_tensor_type,
        embedding_type: args.token_embedding_type,
        effort: match args.effort {
            EffortArg::Fast => Effort::Fast,
            EffortArg::Best => Effort::Best,
        },
        fallback: args.fallback,
        strict: args.strict,
        ..Recipe::new(Container::Gguf, Target::Type(args.r#type))
    };
    let recipe = write::with_model_options(recipe, &args.model_options, &args.write);
    write::run(&args.model, &recipe, &args.write)
}
