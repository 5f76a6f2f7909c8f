//! What rows get that the wanted format's blocks do not divide.

use super::file_type::written_format;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;
use tersor_kernels::Format;

/// How to choose the format of such rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// llama-quantize's substitutes.
    Llama,
    /// The format that loses least for at most half a bit more.
    Auto,
    /// This format where it divides, llama-quantize's otherwise.
    Format(&'static Format),
}

/// llama-quantize's substitutes: blocks of 32 for blocks of 256. It has none for `nvfp4`.
const SUBSTITUTES: &[(&str, &str)] = &[
    ("iq4_xs", "iq4_nl"),
    ("q2_k", "q4_0"),
    ("q3_k", "q4_0"),
    ("tq1_0", "q4_0"),
    ("tq2_0", "q4_0"),
    ("q4_k", "q5_0"),
    ("q5_k", "q5_1"),
    ("q6_k", "q8_0"),
    ("nvfp4", "iq4_nl"),
];

/// The formats with 32 values per block and their relative RMSE on Gaussian values.
pub(super) const ERRORS: &[(&str, f64)] = &[
    ("q8_0", 0.0054),
    ("q5_1", 0.0332),
    ("q5_0", 0.0402),
    ("q4_1", 0.0692),
    ("iq4_nl", 0.0736),
    ("q4_0", 0.0813),
    ("mxfp4", 0.1114),
];

/// Bits per weight that [`Fallback::Auto`] may spend beyond the wanted format.
const MORE_BITS: f64 = 0.5;

impl Fallback {
    /// The format for rows of `cols` values, which `wanted`'s blocks do not divide, and why it is that.
    pub(crate) fn choose(self, wanted: &Format, cols: u64) -> (&'static Format, &'static str) {
        let divides = |f: &&'static Format| cols.is_multiple_of(f.block as u64);
        let found = match self {
            Fallback::Format(f) if divides(&f) => Some((f, "as `--fallback` says")),
            Fallback::Auto => least_error(wanted).filter(|(f, _)| divides(f)),
            _ => {
                let by_name = SUBSTITUTES.iter().find(|(from, _)| *from == wanted.name);
                by_name.map(|(_, to)| named(to)).filter(divides).map(|f| (f, "llama-quantize's substitute"))
            }
        };
        found.unwrap_or((named("f16"), "no block divides them"))
    }
}

fn least_error(wanted: &Format) -> Option<(&'static Format, &'static str)> {
    let bits = |name: &str| named(name).bits_per_weight();
    let within = ERRORS.iter().filter(|(name, _)| bits(name) <= wanted.bits_per_weight() + MORE_BITS);
    let best = within.min_by(|a, b| a.1.total_cmp(&b.1));
    let smallest = || ERRORS.iter().min_by(|a, b| bits(a.0).total_cmp(&bits(b.0)));
    match best {
        Some((name, _)) => Some((named(name), "least error for at most half a bit more")),
        None => smallest().map(|(name, _)| (named(name), "the smallest, as none is within half a bit")),
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fallback::Llama => f.write_str("llama"),
            Fallback::Auto => f.write_str("auto"),
            Fallback::Format(format) => f.write_str(format.name),
        }
    }
}

impl FromStr for Fallback {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fallback> {
        match text {
            "llama" => Ok(Fallback::Llama),
            "auto" => Ok(Fallback::Auto),
            name => written_format(name).map(Fallback::Format),
        }
    }
}

fn named(name: &str) -> &'static Format {
    Format::by_name(name).expect("only called with names of the table")
}
