//! `tersor logits`.

use super::print;
use super::progress::Console;
use crate::distill::{Cache, Predicted, write_cache};
use crate::error::{Error, Result, count, human_bytes};
use crate::model::{Room, Weights};
use crate::options::LogitsArgs;
use crate::progress::{Unit, metered};
use crate::source::Source;
use crate::steps::model::{self, Place};
use crate::steps::student;
use std::process::ExitCode;
use tersor_kernels::Level;

pub(super) fn run(args: &LogitsArgs) -> Result<ExitCode> {
    let source = Source::open(&args.teacher)?;
    let tokens = student::tokens(&source, &args.texts)?;
    let (digest, threads, level) = (source.digest()?, args.threads.get(), Level::best());
    let place = Place { device: args.device.device, room: Room::for_all(tokens.context()), threads };
    let model = model::load(source, Weights::AsStored, place, &Console { quiet: args.quiet })?;
    let of = Predicted {
        teacher: digest,
        texts: tokens.digest(),
        context: tokens.context(),
        sequences: tokens.sequences(),
        top_k: args.top_k,
        temperature: args.temperature,
        vocabulary: tokens.vocabulary().min(model.vocabulary()),
        level: level.name().to_owned(),
    };
    let total = of.sequences * of.context;
    let made = metered(&Console { quiet: args.quiet }, Unit::Tokens, total as u64, |meter| {
        write_cache(&model, &tokens, &of, &args.output, level, threads, meter)
    });
    if let (Err(Error::Interrupted), false) = (&made, args.quiet) {
        eprintln!("the same command goes on from `{}`", args.output.display());
    }
    made?;
    let bytes = Cache::open(&args.output)?.bytes();
    print(&format!(
        "{}: {}, {} ({:.0} bytes a token)\n",
        args.output.display(),
        count(total, "prediction"),
        human_bytes(bytes),
        bytes as f64 / total as f64
    ));
    Ok(ExitCode::SUCCESS)
}
