//! The command line: the only place that knows clap, and the only one that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod calibrate;
mod foreign;
mod generate;
mod inspect;
mod interrupt;
mod list;
mod logits;
mod progress;
mod recipe;
mod sensitivity;
mod tree;
mod verify;

use crate::error::Error;
use crate::progress::{Unit, metered};
use crate::report::{render_bench, render_bench_markdown, render_diff, render_distill, render_eval, render_prune};
use crate::source::Source;
use crate::steps::distill::Outcome;
use crate::steps::{bench, convert, distill, eval, prune, quantize};
use crate::verify::diff;
use clap::Parser;
use progress::Console;
use std::io::Write;
use std::process::ExitCode;
use tersor_kernels::{LEVEL_VARIABLE, Level};
use tree::{Cli, Command};

/// Something failed.
const FAILED: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;
/// `run --check` found something to do.
const TO_DO: u8 = 3;
/// A limit of a recipe does not hold.
const FAILED_LIMIT: u8 = 4;
/// `verify` found a difference.
const DIFFERENT: u8 = 5;
/// Ctrl-C, as a shell reports it.
const INTERRUPTED: u8 = 130;

/// Parse, run, report.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return foreign::explain(&e),
    };
    interrupt::install();
    if let Err(e) = check_level() {
        return fail(&e);
    }
    let result = dispatch(&cli.command);
    match result {
        Ok(code) => code,
        Err(e) => fail(&e),
    }
}

fn dispatch(command: &Command) -> Result<ExitCode, Error> {
    let console = |quiet| Console { quiet };
    match command {
        Command::Quantize(args) => {
            let written = quantize::run(args, &console(args.write.quiet))?;
            Ok(tell(args.write.json, &written, || written.render()))
        }
        Command::Convert(args) => {
            let written = convert::run(args, &console(args.write.quiet))?;
            Ok(tell(args.write.json, &written, || written.render()))
        }
        Command::Prune(args) => {
            let report = prune::run(args, &console(args.write.quiet))?;
            Ok(tell(args.write.json, &report, || render_prune(&report)))
        }
        Command::Distill(args) => {
            let write = &args.training.write;
            Ok(tell_outcome(write.json, &distill::run(args, &console(write.quiet))?))
        }
        Command::Train(args) => {
            let write = &args.training.write;
            Ok(tell_outcome(write.json, &distill::train(args, &console(write.quiet))?))
        }
        Command::Eval(args) => {
            let report = eval::run(args, &console(args.quiet))?;
            Ok(tell(args.json, &report, || render_eval(&report)))
        }
        Command::Bench(args) => {
            let report = bench::run(args, &console(args.quiet))?;
            let render = if args.markdown { render_bench_markdown } else { render_bench };
            Ok(tell(args.json, &report, || render(&report)))
        }
        Command::Init(args) => recipe::init(args),
        Command::Run(args) => recipe::run(args),
        Command::Report(args) => recipe::report(args),
        Command::Cache(args) => recipe::cache(args),
        Command::Schema => Ok(recipe::schema()),
        Command::Sensitivity(args) => sensitivity::run(args),
        Command::Logits(args) => logits::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Diff(args) => {
            let models = [Source::open(&args.a)?, Source::open(&args.b)?];
            let total = models.iter().map(Source::stored_bytes).sum();
            let found =
                metered(&console(args.quiet), Unit::Bytes, total, |meter| diff(&models, args.threads.get(), meter))?;
            Ok(tell(args.json, &found, || render_diff(&found)))
        }
        Command::Calibrate(args) => calibrate::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Formats(args) => list::formats(args),
        Command::Archs(args) => list::architectures(args),
        Command::Completions { shell } => list::completions(*shell),
    }
}

/// A report, as JSON or for a person.
fn tell(as_json: bool, report: &impl serde::Serialize, render: impl FnOnce() -> String) -> ExitCode {
    if as_json {
        print_json(report);
    } else {
        print(&render());
    }
    ExitCode::SUCCESS
}

fn tell_outcome(as_json: bool, outcome: &Outcome) -> ExitCode {
    match outcome {
        Outcome::Planned(plan) => {
            print(plan);
            ExitCode::SUCCESS
        }
        Outcome::Learnt(report) => tell(as_json, report, || render_distill(report)),
    }
}

/// A level that this CPU lacks must not silently become another one.
fn check_level() -> Result<(), Error> {
    match std::env::var(LEVEL_VARIABLE) {
        Ok(name) if !name.is_empty() && Level::named(&name).is_none() => {
            let has: Vec<&str> = Level::available().iter().map(|l| l.name()).collect();
            let hint = format!("this CPU has {}", has.join(", "));
            Err(Error::Usage { problem: format!("{LEVEL_VARIABLE} is `{name}`, which this CPU does not have"), hint })
        }
        _ => Ok(()),
    }
}

fn fail(e: &Error) -> ExitCode {
    eprintln!("error: {e}");
    if let Some(hint) = e.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(match e {
        Error::Interrupted => INTERRUPTED,
        Error::Usage { .. } | Error::Recipe { .. } | Error::UnknownName { .. } | Error::BadRule { .. } => USAGE,
        _ => FAILED,
    })
}

/// Print to stdout; a reader that went away, such as `head`, is no error.
fn print(text: &str) {
    printed(text);
}

/// Print to stdout; false when its reader went away.
fn printed(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Print as JSON, two spaces deep.
fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&(text + "\n")),
        Err(e) => eprintln!("error: {e}"),
    }
}
