//! Coders at a [`Level`].

use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::simd::{DotLanes, Level, Op, run};
use std::marker::PhantomData;

pub(super) fn encode<F: Coding>(
    level: Level,
    src: &[f32],
    how: &Encoding<'_>,
    dst: &mut [u8],
) -> Result<Fit, BadValue> {
    assert_eq!(src.len() / F::BLOCK * F::BYTES, dst.len());
    run(level, Encode::<F> { src, how, dst, format: PhantomData })
}

pub(super) fn decode<F: Decoding>(level: Level, src: &[u8], dst: &mut [f32]) {
    assert_eq!(src.len() / F::BYTES * F::BLOCK, dst.len());
    run(level, Decode::<F> { src, dst, format: PhantomData });
}

struct Encode<'a, F> {
    src: &'a [f32],
    how: &'a Encoding<'a>,
    dst: &'a mut [u8],
    format: PhantomData<F>,
}

impl<F: Coding> Op for Encode<'_, F> {
    type Output = Result<Fit, BadValue>;

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) -> Self::Output {
        F::encode(l, self.src, self.how, self.dst)
    }
}

struct Decode<'a, F> {
    src: &'a [u8],
    dst: &'a mut [f32],
    format: PhantomData<F>,
}

impl<F: Decoding> Op for Decode<'_, F> {
    type Output = ();

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) {
        F::decode(l, self.src, self.dst);
    }
}
