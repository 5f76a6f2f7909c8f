//! AMX: products of tiles of bf16 numbers.
//!
//! As text, because the compiler knows neither the instructions nor their registers.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, __get_cpuid_max, _xgetbv};
use std::sync::OnceLock;

/// A row of a tile, a line of the cache: sixteen pairs of bf16, or sixteen f32.
pub(crate) const ROW: usize = 64;
/// Rows of a tile.
pub(crate) const ROWS: usize = 16;

/// The CPU has tiles of bf16, and the system lets this process use them.
pub(super) fn is_permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| has_tiles() && ask())
}

fn has_tiles() -> bool {
    const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
    const SAVES_TILES: u64 = 0b11 << 17;
    if __get_cpuid_max(0).0 < 7 || __cpuid_count(7, 0).edx & BF16_AND_TILES != BF16_AND_TILES {
        return false;
    }
    // SAFETY: levels below were found first, and those are found only where the system saves registers with `xsave`.
    unsafe { _xgetbv(0) & SAVES_TILES == SAVES_TILES }
}

/// Linux gives the memory for tiles to processes that ask: see the kernel's documentation of `arch_prctl` and XSTATE.
#[cfg(target_os = "linux")]
fn ask() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the call reads two numbers and touches no memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") result, in("rdi") REQUEST_PERMISSION, in("rsi") TILE_DATA,
            lateout("rcx") _, lateout("r11") _, options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn ask() -> bool {
    false
}

/// Eight tiles of sixteen rows, for as long as it lives. Made only at the level that has them.
pub(crate) struct Tiles(());

#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    /// # Safety
    /// The level is that of AMX.
    pub(crate) unsafe fn new() -> Tiles {
        let mut shapes = Shapes { palette: 1, start: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        shapes.bytes[..8].fill(ROW as u16);
        shapes.rows[..8].fill(ROWS as u8);
        // SAFETY: such a CPU reads 64 bytes there.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
        Tiles(())
    }

    /// The products of two times two matrices, each of `steps` tiles that follow each other and are added up: those of `x`
    /// have a row of pairs for each row of the product, those of `w` a column of pairs for each column. The product is a square
    /// of 32 times 32 values at `to`, with `stride` values from one row to the next.
    ///
    /// # Safety
    /// So many tiles can be read, and the square be written.
    pub(crate) unsafe fn multiply(
        &self,
        steps: usize,
        x: [*const u8; 2],
        w: [*const u8; 2],
        to: *mut f32,
        stride: usize,
    ) {
        assert!(steps > 0);
        let (stride, below) = (4 * stride, to.wrapping_add(ROWS * stride));
        // SAFETY: the caller's word.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm6, [{w0} + {row}*1]",
                "tileloadd tmm4, [{x0} + {row}*1]",
                "tileloadd tmm7, [{w1} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{x1} + {row}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {x0}, 1024",
                "add {x1}, 1024",
                "add {w0}, 1024",
                "add {w1}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{to} + {stride}*1], tmm0",
                "tilestored [{to} + {stride}*1 + 64], tmm1",
                "tilestored [{below} + {stride}*1], tmm2",
                "tilestored [{below} + {stride}*1 + 64], tmm3",
                steps = inout(reg) steps => _,
                x0 = inout(reg) x[0] => _, x1 = inout(reg) x[1] => _,
                w0 = inout(reg) w[0] => _, w1 = inout(reg) w[1] => _, row = in(reg) ROW,
                to = in(reg) to, below = in(reg) below, stride = in(reg) stride, options(nostack)
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: tiles are there as long as this lives.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
