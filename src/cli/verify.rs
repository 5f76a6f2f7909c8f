//! `tersor verify`.

use super::{DIFFERENT, print, print_json};
use crate::calib::Statistics;
use crate::conversion::{Conversion, Target};
use crate::error::Result;
use crate::options::VerifyArgs;
use crate::plan::Container;
use crate::report::render_comparison;
use crate::run::Limits;
use crate::steps::write;
use crate::verify;
use std::process::ExitCode;
use std::sync::Arc;
use tersor_kernels::Level;

pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let statistics = args.imatrix.as_deref().map(Statistics::read).transpose()?;
    let conversion =
        Conversion { importance: statistics.map(Arc::new), ..Conversion::new(Container::Gguf, Target::Keep) };
    let conversion = write::with_beside(conversion, &args.beside);
    let limits = Limits { threads: args.threads.get(), level: Level::best() };
    let comparison = verify::compare(&args.output, &args.base, &conversion, args.text.as_deref(), limits)?;
    if args.json {
        print_json(&comparison)
    } else {
        print(&render_comparison(&comparison))
    }
    Ok(if comparison.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}
