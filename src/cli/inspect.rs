//! `tersor inspect`.

use super::args::InspectArgs;
use super::{print, print_json};
use crate::error::Result;
use crate::report::{Inspection, render_inspection};
use crate::source::Source;
use std::process::ExitCode;

pub(super) fn run(args: &InspectArgs) -> Result<ExitCode> {
    let inspection = Inspection::new(&Source::open(&args.path)?);
    if args.json {
        print_json(&inspection)
    } else {
        print(&render_inspection(&inspection))
    }
    Ok(ExitCode::SUCCESS)
}
