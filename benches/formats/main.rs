//! Every format's encoder and decoder, at every level of this CPU, beside ggml's.
//!
//! `cargo bench --bench formats [-- NAME...]`: speed and error on Gaussian values; `--save` writes benches/formats.tsv.
//! `cargo bench --bench formats -- --real [NAME...]`: error against ggml's on every matrix of real models.
//! See benches/README.md.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod data;
mod peer;
mod real;
mod speed;
#[path = "../support/mod.rs"]
mod support;

use tersor_kernels::{Effort, Encoding, FORMATS, Format, Importance, NonFinite};

/// A way to encode: with an importance per column or not, and how long to search.
#[derive(Clone, Copy, PartialEq)]
pub struct Mode {
    pub weighed: bool,
    pub effort: Effort,
}

pub const MODES: [Mode; 4] = [
    Mode { weighed: false, effort: Effort::Fast },
    Mode { weighed: false, effort: Effort::Best },
    Mode { weighed: true, effort: Effort::Fast },
    Mode { weighed: true, effort: Effort::Best },
];

impl Mode {
    pub fn encoding<'a>(&self, importance: &'a [f32]) -> Encoding<'a> {
        let importance = self.weighed.then_some(Importance { columns: importance, start: 0 });
        Encoding { importance, effort: self.effort, non_finite: NonFinite::Refuse }
    }

    pub fn names(&self) -> (&'static str, &'static str) {
        let effort = if self.effort == Effort::Fast { "fast" } else { "best" };
        (if self.weighed { "importance" } else { "plain" }, effort)
    }
}

fn main() {
    // cargo adds `--bench`.
    let (flags, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    if let Some(unknown) = names.iter().find(|n| Format::by_name(n).is_none()) {
        println!("unknown format `{unknown}`; `tersor formats` lists them");
        std::process::exit(2);
    }
    let wanted = |f: &&Format| names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case(f.name));
    let formats: Vec<&'static Format> = FORMATS.iter().filter(|f| f.codec.is_some()).filter(wanted).collect();
    let ggml = peer::Ggml::start();
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    match (has("--real"), ggml) {
        (false, ggml) => speed::table(&formats, ggml, has("--save")),
        (true, Some(ggml)) => real::compare(&formats, ggml),
        (true, None) => {}
    }
}
