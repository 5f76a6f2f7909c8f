//! `tersor verify`.

use super::progress::Console;
use super::{DIFFERENT, print, print_json};
use crate::calib::Statistics;
use crate::conversion::{Conversion, Target};
use crate::error::{Result, human_bytes};
use crate::options::VerifyArgs;
use crate::plan::Container;
use crate::recipe::{self, Cache, How};
use crate::report::render_comparison;
use crate::run::Limits;
use crate::steps::write;
use crate::verify;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tersor_kernels::Level;

pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let base = match (&args.base, &args.rederive) {
        (_, Some(folder)) => return rederive(args, folder),
        (Some(base), None) => base,
        (None, None) => return Ok(ExitCode::from(super::USAGE)),
    };
    let statistics = args.imatrix.as_deref().map(Statistics::read).transpose()?;
    let conversion =
        Conversion { importance: statistics.map(Arc::new), ..Conversion::new(Container::Gguf, Target::Keep) };
    let conversion = write::with_beside(conversion, &args.beside);
    let limits = Limits { threads: args.threads.get(), level: Level::best() };
    let comparison = verify::compare(&args.output, base, &conversion, args.text.as_deref(), limits)?;
    if args.json {
        print_json(&comparison)
    } else {
        print(&render_comparison(&comparison))
    }
    Ok(if comparison.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// Made again from the recipe in it.
fn rederive(args: &VerifyArgs, folder: &Path) -> Result<ExitCode> {
    let cache = Cache::open(args.cache.cache.as_deref())?;
    let how = How { threads: args.threads.given(), artifacts: args.artifacts.artifacts.clone(), ..How::default() };
    let found = recipe::rederive(&args.output, folder, &cache, &how, &Console { quiet: args.json })?;
    if args.json {
        print_json(&found);
    } else {
        let bytes = human_bytes(found.bytes);
        print(&match found.differs_at {
            None => format!("{}: {bytes}, the same bytes\n", args.output.display()),
            Some(at) => format!("{}: {bytes}, other bytes from {at} on\n", args.output.display()),
        });
    }
    Ok(if found.differs_at.is_none() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}
