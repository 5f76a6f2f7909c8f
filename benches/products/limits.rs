//! What the machine can do at most.

use crate::support::seconds;
use std::hint::black_box;

/// GB/s of reading memory in order: `words` over and over, each time from another place of a buffer larger than caches.
pub fn read(words: &[u64], cold: usize) -> f64 {
    use std::cell::RefCell;
    thread_local! {
        static LARGE: RefCell<(Vec<u64>, usize)> = const { RefCell::new((Vec::new(), 0)) };
    }
    LARGE.with_borrow_mut(|(large, at)| {
        if large.is_empty() {
            large.resize(cold / 8 * 2, 1);
        }
        if *at + words.len() > large.len() {
            *at = 0;
        }
        let part = &large[*at..][..words.len()];
        *at += words.len();
        let time = seconds(|| {
            black_box(sum(black_box(part)));
        });
        (part.len() * 8) as f64 / time / 1e9
    })
}

#[cfg(target_arch = "x86_64")]
fn sum(words: &[u64]) -> u64 {
    #[target_feature(enable = "avx2")]
    fn wide(words: &[u64]) -> u64 {
        narrow(words)
    }
    // SAFETY: the CPU has it.
    if is_x86_feature_detected!("avx2") { unsafe { wide(words) } } else { narrow(words) }
}

#[cfg(not(target_arch = "x86_64"))]
fn sum(words: &[u64]) -> u64 {
    narrow(words)
}

#[inline(always)]
fn narrow(words: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    for words in words.as_chunks::<32>().0 {
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(target_arch = "x86_64")]
macro_rules! peak {
    ($name:ident, $feature:tt, $operations:expr, $($line:literal),*) => {
        /// In 1e9 operations per second; `None` where the CPU lacks it.
        pub fn $name() -> Option<f64> {
            if !is_x86_feature_detected!($feature) {
                return None;
            }
            const TURNS: u64 = 200_000;
            let time = seconds(|| {
                // SAFETY: registers only; the CPU has the instructions.
                unsafe {
                    std::arch::asm!(
                        "2:", $($line,)* "dec {turns}", "jnz 2b", turns = inout(reg) TURNS => _,
                        out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
                        out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                        out("ymm14") _, out("ymm15") _,
                    );
                }
            });
            Some(TURNS as f64 * $operations / time / 1e9)
        }
    };
}

#[cfg(target_arch = "x86_64")]
peak!(
    byte_products,
    "avx2",
    6.0 * 64.0,
    "vpmaddubsw ymm0, ymm14, ymm15",
    "vpaddw ymm6, ymm6, ymm0",
    "vpmaddubsw ymm1, ymm14, ymm15",
    "vpaddw ymm7, ymm7, ymm1",
    "vpmaddubsw ymm2, ymm14, ymm15",
    "vpaddw ymm8, ymm8, ymm2",
    "vpmaddubsw ymm3, ymm14, ymm15",
    "vpaddw ymm9, ymm9, ymm3",
    "vpmaddubsw ymm4, ymm14, ymm15",
    "vpaddw ymm10, ymm10, ymm4",
    "vpmaddubsw ymm5, ymm14, ymm15",
    "vpaddw ymm11, ymm11, ymm5"
);
#[cfg(target_arch = "x86_64")]
peak!(
    fused,
    "fma",
    12.0 * 16.0,
    "vfmadd231ps ymm0, ymm14, ymm15",
    "vfmadd231ps ymm1, ymm14, ymm15",
    "vfmadd231ps ymm2, ymm14, ymm15",
    "vfmadd231ps ymm3, ymm14, ymm15",
    "vfmadd231ps ymm4, ymm14, ymm15",
    "vfmadd231ps ymm5, ymm14, ymm15",
    "vfmadd231ps ymm6, ymm14, ymm15",
    "vfmadd231ps ymm7, ymm14, ymm15",
    "vfmadd231ps ymm8, ymm14, ymm15",
    "vfmadd231ps ymm9, ymm14, ymm15",
    "vfmadd231ps ymm10, ymm14, ymm15",
    "vfmadd231ps ymm11, ymm14, ymm15"
);

#[cfg(not(target_arch = "x86_64"))]
pub fn byte_products() -> Option<f64> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub fn fused() -> Option<f64> {
    None
}
