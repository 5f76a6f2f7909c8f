//! Products at a [`Level`].

use super::Panels;
use super::activations::{self, Activations};
use super::out::Out;
use crate::simd::{DotLanes, Level, Op, run};
use std::marker::PhantomData;

/// Panels times activations, generic over the instruction set as [`Op::body`] is.
pub(super) trait Body {
    fn multiply<L: DotLanes>(l: L, panels: Panels<'_>, x: &Activations, out: &mut Out<'_>);
}

pub(super) fn multiply<B: Body>(level: Level, panels: Panels<'_>, x: &Activations, out: &mut Out<'_>) {
    run(level, Multiply::<B> { panels, x, out, body: PhantomData });
}

pub(super) fn pack(level: Level, x: &mut Activations, values: &[f32]) {
    run(level, Pack { x, values });
}

struct Multiply<'a, 'o, B> {
    panels: Panels<'a>,
    x: &'a Activations,
    out: &'a mut Out<'o>,
    body: PhantomData<B>,
}

impl<B: Body> Op for Multiply<'_, '_, B> {
    type Output = ();
    const BYTE_PRODUCTS: bool = true;

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) {
        B::multiply(l, self.panels, self.x, self.out);
    }
}

struct Pack<'a> {
    x: &'a mut Activations,
    values: &'a [f32],
}

impl Op for Pack<'_> {
    type Output = ();
    // Tiles are as wide as the products want them.
    const BYTE_PRODUCTS: bool = true;

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) {
        activations::pack(l, self.x, self.values);
    }
}
