//! Options of the tools that people come from: an error that says how tersor spells them.

use super::USAGE;
use crate::conversion::FileType;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::process::ExitCode;

/// As typed elsewhere, and what to write here.
const SPELLINGS: &[(&str, &str)] = &[
    ("--outtype", "`--type TYPE` (quantize) or `--dtype DTYPE` (convert)"),
    ("--outfile", "`-o FILE`"),
    ("--out", "`-o FILE`"),
    ("--tensor-type", "`--rule PATTERN=FORMAT`; patterns are names with `*`, not regular expressions"),
    ("--leave-output-tensor", "`--output-tensor-type bf16`"),
    ("--split-max-tensors", "`--split-max-size SIZE`"),
    ("--keep-split", "`--split-max-size SIZE`"),
    ("--nthreads", "`--threads N`"),
    ("--model", "the model as the first argument"),
    ("--vocab-only", "`tersor inspect MODEL`"),
    ("--print-supported-models", "`tersor archs`"),
];

/// Print clap's error with a hint where there is one. Help and version go to stdout with exit code 0.
pub(super) fn explain(e: &clap::Error) -> ExitCode {
    let _ = e.print();
    if !e.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if e.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(typed)) = e.get(ContextKind::InvalidArg)
        && let Some(hint) = hint(typed)
    {
        eprintln!("\nhint: {hint}");
    }
    ExitCode::from(USAGE)
}

fn hint(typed: &str) -> Option<String> {
    let name = typed.split('=').next().unwrap_or(typed);
    if let Some((_, here)) = SPELLINGS.iter().find(|(there, _)| *there == name) {
        return Some(format!("here that is {here}"));
    }
    if FileType::by_name(typed).is_ok() {
        return Some(format!("a type is given as `--type {}`", typed.to_lowercase()));
    }
    typed.ends_with(".gguf").then(|| format!("an output is given as `-o {typed}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        assert!(hint("--outtype").unwrap().contains("--type"));
        assert!(hint("--tensor-type=x=q8_0").unwrap().contains("--rule"));
        assert_eq!(hint("Q4_0").unwrap(), "a type is given as `--type q4_0`");
        assert_eq!(hint("out.gguf").unwrap(), "an output is given as `-o out.gguf`");
        assert_eq!(hint("--nonsense"), None);
    }
}
