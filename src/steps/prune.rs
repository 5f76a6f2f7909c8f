//! `tersor prune`.

use super::model::{self, Place};
use super::{calibrate, eval, write};
use crate::calib::Statistics;
use crate::conversion::{Conversion, Target};
use crate::error::{Error, Result};
use crate::model::{Choice, Room, Weights};
use crate::options::{AllocateArg, CalibrationArgs, MethodArg, PruneArgs, ScopeArg, TextArgs};
use crate::plan::Container;
use crate::progress::{Unit, Watch, metered};
use crate::prune::{Allocate, Method, Scope, Sensitivity, Settings, Sizes, Wanted, prune};
use crate::report::{PruneReport, TextReport};
use crate::sink::write_file;
use crate::source::Source;
use crate::windows::{Text, Windows};
use crate::writing::Build;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use tersor_kernels::Level;

/// Channels are rounded to this unless the output has larger blocks.
pub(crate) const MULTIPLE: u64 = 32;

pub(crate) fn run(args: &PruneArgs, watch: &dyn Watch) -> Result<PruneReport> {
    check_options(args)?;
    let output = args.write.output.as_deref();
    if let Some(path) = output.filter(|path| path.exists() && !args.write.force && !args.write.dry_run) {
        return Err(Error::Exists { path: path.to_owned() });
    }
    let source = Source::open(&args.model)?;
    let measured = TextArgs { text: args.text.clone(), ctx: args.ctx, chunks: args.chunks };
    let windows = model::windows(&measured, &source, None)?;
    let method = method(args, &source, watch)?;
    let (unit, total) = match &method {
        Method::Depth { windows, search, .. } => (Unit::Tokens, windows.total() * if *search { 2 } else { 1 }),
        _ => (Unit::Bytes, source.stored_bytes()),
    };
    let name = source.name.clone();
    let pruned = metered(watch, unit, total, |progress| {
        let settings = Settings { level: Level::best(), threads: args.write.threads.get(), progress };
        let pruned = prune(source, &method, &settings)?;
        if args.store.is_some() { pruned.as_bitmask(args.r#type.is_some(), &settings) } else { Ok(pruned) }
    })?;
    let mut options = write::options(&args.write);
    options.output.get_or_insert_with(|| default_output(args, &name));
    let build = ManuallyDrop::new(Build::of(pruned.source.clone(), &conversion(args), options)?);
    let planned = PruneReport::planned(&pruned, &build);
    if let (true, [first, ..]) = (args.strict, &planned.formats_without_zero[..]) {
        return Err(Error::Usage {
            problem: format!("{first} cannot hold a zero, so pruned weights would come back"),
            hint: "choose a type that can, such as q8_0, q4_0 or q6_k, or leave out `--strict`".into(),
        });
    }
    let report = if args.write.dry_run {
        planned
    } else {
        let built = write::write(&build, watch)?;
        let mut report = PruneReport::written(&pruned, &build, &built);
        if let Some((text, windows)) = args.text.as_deref().zip(windows.as_ref()) {
            report.quality = Some(quality(args, text, windows, &build.layout.target, watch)?);
        }
        report
    };
    if let Some(path) = &args.svg {
        let picture = report.svg().ok_or_else(|| Error::Usage {
            problem: "nothing was measured that `--svg` could show".into(),
            hint: "leave it out with `--drop` and `--dry-run`".into(),
        })?;
        write_file(path, picture.into_bytes(), args.write.force)?;
    }
    Ok(report)
}

/// An option of another method would do nothing.
fn check_options(args: &PruneArgs) -> Result<()> {
    use MethodArg::{Depth, Magnitude, Wanda, Width};
    let options: [(&str, bool, &[MethodArg]); 12] = [
        ("--sparsity", !args.sparsity.is_empty(), &[Magnitude, Wanda]),
        ("--scope", args.scope.is_some(), &[Magnitude]),
        ("--imatrix", args.imatrix.is_some(), &[Wanda, Width]),
        ("--calibration", args.calibration.is_some() && args.drop.is_none(), &[Wanda, Width, Depth]),
        ("--allocate", args.allocate.is_some(), &[Wanda]),
        ("--keep", args.keep.is_some(), &[Depth]),
        ("--drop", args.drop.is_some(), &[Depth]),
        ("--search", args.search, &[Depth]),
        ("--ffn", args.ffn.is_some(), &[Width]),
        ("--heads", args.heads.is_some(), &[Width]),
        ("--hidden", args.hidden.is_some(), &[Width]),
        ("--multiple", args.multiple.is_some(), &[Width]),
    ];
    let name = |method: &MethodArg| format!("`--method {}`", format!("{method:?}").to_lowercase());
    if let Some((option, _, of)) = options.iter().find(|(_, given, of)| *given && !of.contains(&args.method)) {
        let of: Vec<String> = of.iter().map(name).collect();
        return Err(Error::Usage {
            problem: format!("`{option}` has no effect with {}", name(&args.method)),
            hint: format!("it is for {}", of.join(" and ")),
        });
    }
    let odd = args.r#type.filter(|kind| args.store.is_some() && kind.name != "q8_0");
    if let Some(kind) = odd {
        let problem = format!("`--store bitmask` has no values of {}", kind.name);
        return Err(Error::Usage { problem, hint: "pass `--type q8_0`, or none to keep the floats".into() });
    }
    if args.calibration.is_some() && args.drop.is_some() {
        let problem = "`--calibration` has no effect with `--drop`".to_owned();
        return Err(Error::Usage { problem, hint: "it is for `--keep`".into() });
    }
    Ok(())
}

fn method(args: &PruneArgs, source: &Source, watch: &dyn Watch) -> Result<Method> {
    let missing =
        |what: &str, hint: &str| Err(Error::Usage { problem: format!("{what} is missing"), hint: hint.into() });
    match args.method {
        MethodArg::Magnitude => {
            let scope = match args.scope {
                None | Some(ScopeArg::Row) => Scope::Row,
                Some(ScopeArg::Tensor) => Scope::Tensor,
                Some(ScopeArg::Global) => Scope::Global,
            };
            Ok(Method::Magnitude { wanted: Wanted::new(&args.sparsity)?, scope })
        }
        MethodArg::Wanda => {
            let wanted = Wanted::new(&args.sparsity)?;
            let allocate = match &args.allocate {
                None | Some(AllocateArg::Uniform) => Allocate::Uniform,
                Some(AllocateArg::Owl) => Allocate::Owl,
                Some(AllocateArg::File(path)) => Allocate::Measured(Sensitivity::read(path)?.into()),
            };
            Ok(Method::Wanda { wanted, statistics: statistics(args, watch)?, allocate })
        }
        MethodArg::Depth => match (&args.drop, args.keep, &args.calibration) {
            (Some(blocks), ..) => Ok(Method::Drop(blocks.clone())),
            (None, Some(keep), Some(path)) => {
                let windows = Windows::cut(source, &Text { path, context: args.ctx, chunks: args.chunks })?;
                Ok(Method::Depth { keep, windows, search: args.search })
            }
            (None, Some(_), None) => missing("a text that blocks are judged on", "pass `--calibration FILE`"),
            (None, None, _) => missing("how many blocks stay, or which go", "pass `--keep N` or `--drop N,N-N`"),
        },
        MethodArg::Width => {
            let follows = args.r#type.map_or(0, |t| t.base().block as u64);
            let multiple = args.multiple.unwrap_or(MULTIPLE.max(follows));
            let sizes = Sizes { ffn: args.ffn, heads: args.heads, hidden: args.hidden, multiple };
            if sizes.is_empty() {
                return missing("a size", "pass `--ffn N`, `--heads N` or `--hidden N`");
            }
            Ok(Method::Width { sizes, statistics: statistics(args, watch)? })
        }
    }
}

fn statistics(args: &PruneArgs, watch: &dyn Watch) -> Result<Statistics> {
    match (&args.imatrix, &args.calibration) {
        (Some(file), _) => Statistics::read(file),
        (None, Some(text)) => {
            let how = CalibrationArgs { calibration: None, ctx: args.ctx, chunks: args.chunks };
            let run = calibrate::Run {
                threads: args.write.threads,
                device: Choice::Cpu,
                memory: args.write.memory,
                keep: None,
            };
            calibrate::statistics(&args.model, text, &how, &run, watch)
        }
        (None, None) => Err(Error::Usage {
            problem: "this method needs statistics of the model's activations".into(),
            hint: "pass `--imatrix FILE` from `tersor calibrate`, or `--calibration FILE` with a text".into(),
        }),
    }
}

fn conversion(args: &PruneArgs) -> Conversion {
    let to_gguf = args.write.output.as_ref().is_some_and(|path| path.extension().is_some_and(|e| e == "gguf"));
    let (container, target) = match args.r#type.filter(|_| args.store.is_none()) {
        Some(kind) => (Container::Gguf, Target::Type(kind)),
        None if to_gguf => (Container::Gguf, Target::Keep),
        None => (Container::Safetensors, Target::Keep),
    };
    let (rules, strict, max_file_bytes) = (args.rules.clone(), args.strict, args.write.split_max_size);
    Conversion { rules, strict, max_file_bytes, count_zeros: true, ..Conversion::new(container, target) }
}

fn default_output(args: &PruneArgs, name: &str) -> PathBuf {
    match args.r#type.filter(|_| args.store.is_none()) {
        Some(kind) => format!("{name}-pruned-{}.gguf", kind.name.to_uppercase()).into(),
        None => format!("{name}-pruned").into(),
    }
}

/// The output beside the model that was pruned.
fn quality(args: &PruneArgs, text: &Path, windows: &Windows, output: &Path, watch: &dyn Watch) -> Result<TextReport> {
    let place = Place { device: Choice::Cpu, room: Room::for_all(0), threads: args.write.threads.get() };
    let load = |path: &Path, weights| model::load(Source::open(path)?, weights, place, watch);
    let base = load(&args.model, Weights::Decoded)?;
    let pruned = load(output, Weights::AsStored)?;
    Ok(TextReport::new(text, windows, eval::scores(&pruned, Some(&base), windows, watch)?))
}
