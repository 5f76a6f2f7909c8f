//! One copy of each body per instruction set, picked by [`Level`].

use super::activations::{self, Activations};
use super::out::Out;
use crate::simd::{DotLanes, Isa, Level, Scalar};

/// Panels times activations, generic over the instruction set. Inlined into one copy per level, so it must not call
/// closures (they lose the level).
pub(super) trait Body {
    fn multiply<L: DotLanes>(l: L, panels: &[u8], panel: usize, x: &Activations, out: &mut Out<'_>);
}

pub(super) fn multiply<B: Body>(level: Level, panels: &[u8], panel: usize, x: &Activations, out: &mut Out<'_>) {
    match level.0 {
        Isa::Scalar => B::multiply(Scalar, panels, panel, x, out),
        // SAFETY: a `Level` with this set exists only after the CPU was seen to have it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::multiply_avx2::<B>(panels, panel, x, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::multiply_avx512::<B>(panels, panel, x, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Vnni => unsafe { x86::multiply_vnni::<B>(panels, panel, x, out) },
    }
}

pub(super) fn pack(level: Level, x: &mut Activations, values: &[f32]) {
    match level.0 {
        Isa::Scalar => activations::pack(Scalar, x, values),
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::pack_avx2(x, values) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::pack_avx512(x, values) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Vnni => unsafe { x86::pack_vnni(x, values) },
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::activations::{self, Activations};
    use super::{Body, Out};
    use crate::simd::{Avx2, Avx512};

    macro_rules! copies {
        ($multiply:ident, $pack:ident, $token:ty, $features:literal) => {
            #[target_feature(enable = $features)]
            pub(super) fn $multiply<B: Body>(panels: &[u8], panel: usize, x: &Activations, out: &mut Out<'_>) {
                // SAFETY: this function is compiled for, and only called on, such a CPU.
                B::multiply(unsafe { <$token>::assume() }, panels, panel, x, out);
            }

            #[target_feature(enable = $features)]
            pub(super) fn $pack(x: &mut Activations, values: &[f32]) {
                // SAFETY: as above.
                activations::pack(unsafe { <$token>::assume() }, x, values);
            }
        };
    }

    copies!(multiply_avx2, pack_avx2, Avx2, "avx2,fma,f16c");
    copies!(multiply_avx512, pack_avx512, Avx512<false>, "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl");
    copies!(multiply_vnni, pack_vnni, Avx512<true>, "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");
}
