//! `tersor calibrate`.

use super::print;
use super::progress::Console;
use crate::error::{Result, count};
use crate::options::CalibrateArgs;
use crate::steps::calibrate;
use std::process::ExitCode;

pub(super) fn run(args: &CalibrateArgs) -> Result<ExitCode> {
    let (sum, _) = calibrate::run(args, &Console { quiet: args.quiet })?;
    let (tensors, contexts) = (count(sum.entries.len(), "tensor"), count(sum.chunks as usize, "context"));
    print(&format!("{}: {tensors} of {contexts}\n", args.output.display()));
    Ok(ExitCode::SUCCESS)
}
