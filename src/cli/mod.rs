//! The command line: the only place that knows clap, and the only one that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod bench;
mod calibrate;
mod compare;
mod convert;
mod distill;
mod eval;
mod foreign;
mod generate;
mod inspect;
mod interrupt;
mod list;
mod logits;
mod model;
mod progress;
mod prune;
mod quantize;
mod sensitivity;
mod student;
mod teller;
mod verify;
mod write;

use crate::error::Error;
use args::{Cli, Command};
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use tersor_kernels::{LEVEL_VARIABLE, Level};

/// Something failed.
const FAILED: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;
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
    let result = match &cli.command {
        Command::Quantize(args) => quantize::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Prune(args) => prune::run(args),
        Command::Sensitivity(args) => sensitivity::run(args),
        Command::Distill(args) => distill::run(args),
        Command::Logits(args) => logits::run(args),
        Command::Train(args) => distill::train(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Formats(args) => list::formats(args),
        Command::Archs(args) => list::architectures(args),
        Command::Completions { shell } => list::completions(*shell),
    };
    match result {
        Ok(code) => code,
        Err(e) => fail(&e),
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
        Error::Usage { .. } | Error::UnknownName { .. } | Error::BadRule { .. } => USAGE,
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
