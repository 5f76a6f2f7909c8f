//! `tersor inspect`.

use super::progress::Console;
use super::{print, print_json};
use crate::error::Result;
use crate::machine::all_threads;
use crate::options::InspectArgs;
use crate::progress::{Unit, metered};
use crate::report::{Inspection, render_inspection};
use crate::source::Source;
use std::process::ExitCode;

pub(super) fn run(args: &InspectArgs) -> Result<ExitCode> {
    let source = Source::open(&args.path)?;
    let mut inspection = Inspection::new(&source);
    if args.sparsity {
        let zeros = metered(&Console { quiet: args.json }, Unit::Bytes, source.stored_bytes(), |meter| {
            source.zeros(all_threads(), meter)
        })?;
        inspection.set_zeros(zeros);
    }
    if args.json {
        print_json(&inspection)
    } else {
        print(&render_inspection(&inspection))
    }
    Ok(ExitCode::SUCCESS)
}
