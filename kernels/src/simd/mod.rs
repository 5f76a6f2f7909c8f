//! Instruction-set levels, chosen at run time.

#[cfg(target_arch = "x86_64")]
mod amx;
mod bytes;
#[cfg(target_arch = "x86_64")]
mod bytes_x86;
mod dots;
#[cfg(target_arch = "x86_64")]
mod dots_x86;
mod lanes;
mod run;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::Tiles;
pub(crate) use bytes::ByteLanes;
pub(crate) use dots::DotLanes;
pub(crate) use lanes::{Lanes, Scalar};
pub(crate) use run::{Op, run};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

use std::sync::OnceLock;

/// The environment variable that picks a level, for tests and comparisons.
pub const LEVEL_VARIABLE: &str = "TERSOR_LEVEL";

/// The instruction set that a kernel body is compiled for.
///
/// A value can only be had from [`Level::best`] or [`Level::available`], which look at the CPU first: holding one is
/// the proof that its instructions may be executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level(pub(crate) Isa);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Isa {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Level {
    /// What the target guarantees, without any detection.
    pub const SCALAR: Level = Level(Isa::Scalar);

    /// Every level that this CPU has, weakest first.
    pub fn available() -> Vec<Level> {
        #[allow(unused_mut)]
        let mut levels = vec![Level::SCALAR];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                levels.push(Level(Isa::Avx2));
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    levels.push(Level(Isa::Avx512));
                    if is_x86_feature_detected!("avx512vnni") {
                        levels.push(Level(Isa::Vnni));
                        if amx::is_permitted() {
                            levels.push(Level(Isa::Amx));
                        }
                    }
                }
            }
        }
        levels
    }

    /// The level with this name (`scalar`, `avx2`, `avx512`, `vnni`, `amx`), if this CPU has it.
    pub fn named(name: &str) -> Option<Level> {
        Level::available().into_iter().find(|l| l.name().eq_ignore_ascii_case(name))
    }

    /// The strongest level of this CPU, or the one that the environment variable `TERSOR_LEVEL` names if the CPU has it.
    pub fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            let wanted = std::env::var(LEVEL_VARIABLE).ok().and_then(|name| Level::named(&name));
            wanted.or_else(|| Level::available().pop()).unwrap_or(Level::SCALAR)
        })
    }

    /// `scalar`, `avx2`, `avx512`, `vnni`: AVX-512 with the byte products of VNNI, which matrix products use; or `amx`: the
    /// same with tiles, which products of bf16 use.
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni => "vnni",
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => "amx",
        }
    }
}
