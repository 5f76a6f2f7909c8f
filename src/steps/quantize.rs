//! `tersor quantize`.

use super::calibrate;
use super::write::{self, Beside, Ready, Written};
use crate::calib::Statistics;
use crate::conversion::{Conversion, Target};
use crate::error::Result;
use crate::model::Choice;
use crate::options::{EffortArg, QuantizeArgs};
use crate::plan::Container;
use crate::progress::Watch;
use std::sync::Arc;
use tersor_kernels::Effort;

pub(crate) fn run(args: &QuantizeArgs, watch: &dyn Watch) -> Result<Written> {
    let build = prepare(args, Beside::default(), watch)?;
    write::finish(&build, &args.write, watch)
}

/// Decide everything.
pub(crate) fn prepare(args: &QuantizeArgs, beside: Beside, watch: &dyn Watch) -> Result<Ready> {
    let statistics = match (&args.imatrix, &args.calibration.calibration) {
        (Some(file), _) => Some(Statistics::read(file)?),
        (None, Some(text)) => {
            let run = calibrate::Run {
                threads: args.write.threads,
                device: Choice::Cpu,
                memory: args.write.memory,
                keep: None,
            };
            Some(calibrate::statistics(&args.model, text, &args.calibration, &run, watch)?)
        }
        (None, None) => None,
    };
    let conversion = Conversion {
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
        ..Conversion::new(Container::Gguf, Target::Type(args.r#type))
    };
    let conversion = write::with_model_options(conversion, &args.model_options, &args.write);
    write::prepare(&args.model, &conversion, &args.write, beside)
}
