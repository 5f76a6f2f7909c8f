//! One copy of each body per instruction set, picked by [`Level`].

use super::{DotLanes, Isa, Level, Scalar};

/// A body with what it works on, generic over the instruction set.
///
/// [`Op::body`] is inlined into one copy per level, so it must be `#[inline(always)]` and call no closures (they lose the
/// level).
pub(crate) trait Op {
    /// What it gives.
    type Output;
    /// It has byte products: where the CPU has VNNI they deserve a copy of their own.
    const BYTE_PRODUCTS: bool = false;

    fn body<L: DotLanes>(self, l: L) -> Self::Output;
}

/// Run the copy of `op` for `level`.
pub(crate) fn run<O: Op>(level: Level, op: O) -> O::Output {
    match level.0 {
        Isa::Scalar => op.body(Scalar),
        // SAFETY: a `Level` with this set exists only after the CPU was seen to have it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::avx2(op) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Vnni | Isa::Amx if O::BYTE_PRODUCTS => unsafe { x86::vnni(op) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Vnni | Isa::Amx => unsafe { x86::avx512(op) },
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Op;
    use crate::simd::{Avx2, Avx512};

    #[target_feature(enable = "popcnt,avx2,fma,f16c")]
    pub(super) fn avx2<O: Op>(op: O) -> O::Output {
        // SAFETY: this function is compiled for, and only called on, such a CPU.
        op.body(unsafe { Avx2::assume() })
    }

    #[target_feature(enable = "popcnt,avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn avx512<O: Op>(op: O) -> O::Output {
        // SAFETY: as above.
        op.body(unsafe { Avx512::<false>::assume() })
    }

    #[target_feature(enable = "popcnt,avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) fn vnni<O: Op>(op: O) -> O::Output {
        // SAFETY: as above.
        op.body(unsafe { Avx512::<true>::assume() })
    }
}
