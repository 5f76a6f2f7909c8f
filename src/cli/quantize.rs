//! `tersor quantize`.

use super::args::{EffortArg, QuantizeArgs};
use super::write;
use crate::error::Result;
use crate::plan::Container;
use crate::recipe::{Recipe, Target};
use std::process::ExitCode;
use tersor_kernels::Effort;

pub(super) fn run(args: &QuantizeArgs) -> Result<ExitCode> {
    let recipe = Recipe {
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
