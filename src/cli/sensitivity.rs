//! `tersor sensitivity`.

use super::print;
use super::progress::Console;
use crate::SCHEMA;
use crate::calib::Statistics;
use crate::error::{Error, Result};
use crate::options::SensitivityArgs;
use crate::progress::{Unit, metered};
use crate::prune::{Probe, Sensitivity, Settings, sensitivity};
use crate::report::render_sensitivity;
use crate::sink::write_file;
use crate::source::Source;
use crate::windows::{Text, Windows};
use std::process::ExitCode;
use tersor_kernels::Level;

pub(super) fn run(args: &SensitivityArgs) -> Result<ExitCode> {
    if args.output.exists() && !args.force {
        return Err(Error::Exists { path: args.output.clone() });
    }
    let source = Source::open(&args.model)?;
    let windows = Windows::cut(&source, &Text { path: &args.text, context: args.ctx, chunks: Some(args.chunks) })?;
    let statistics = args.imatrix.as_deref().map(Statistics::read).transpose()?;
    let (sparsity, format, blocks_only) = (args.sparsity, args.format, args.blocks);
    let probe = Probe { sparsity, statistics: statistics.as_ref(), format, blocks_only };
    let (blocks, tensors) = metered(&Console { quiet: args.quiet }, Unit::Tokens, windows.total(), |progress| {
        let settings = Settings { level: Level::best(), threads: args.threads.get(), progress };
        sensitivity(&source, &probe, &windows, &settings)
    })?;
    let found = Sensitivity {
        schema: SCHEMA,
        model: source.name.clone(),
        sparsity: sparsity.to_string(),
        method: if statistics.is_some() { "wanda" } else { "magnitude" }.into(),
        format: format.name.into(),
        text: args.text.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        contexts: windows.iter().len(),
        context: windows.context,
        level: Level::best().name().into(),
        blocks,
        tensors,
    };
    let mut text = serde_json::to_vec_pretty(&found).expect("numbers and texts always print");
    text.push(b'\n');
    write_file(&args.output, text, args.force)?;
    print(&render_sensitivity(&found));
    Ok(ExitCode::SUCCESS)
}
