//! In the place of `device`, for a program that is built without the feature `cuda`: nothing here can be.

use super::layer::Frame;
use super::load::Loader;
use super::observe::Sums;
use crate::error::{Error, Result};
use std::ops::Range;

pub(super) enum OnDevice {}
pub(super) enum Sequence {}
pub(super) enum Watching {}
pub(super) struct Shape;

pub(super) fn has_driver() -> bool {
    false
}

fn without() -> Error {
    Error::Device { reason: "this program was built without the feature `cuda`".into() }
}

impl OnDevice {
    pub(super) fn load(_: usize, _: &Loader<'_>) -> Result<OnDevice> {
        Err(without())
    }

    pub(super) fn name(&self) -> &str {
        match *self {}
    }

    pub(super) fn vocabulary(&self) -> usize {
        match *self {}
    }

    pub(super) fn bytes(&self) -> usize {
        match *self {}
    }

    pub(super) fn logits(&self, _: &[f32]) -> Result<Vec<f32>> {
        match *self {}
    }
}

impl Shape {
    pub(super) fn of(_: &Frame) -> Shape {
        Shape
    }
}

impl Sequence {
    pub(super) fn new(model: &OnDevice, _: Shape, _: &[f32]) -> Result<Sequence> {
        match *model {}
    }

    pub(super) fn reserve(&mut self, _: &OnDevice, _: usize) -> Result<()> {
        match *self {}
    }

    pub(super) fn forward(&mut self, _: &OnDevice, _: &[u32], _: usize) -> Result<()> {
        match *self {}
    }

    pub(super) fn through(
        &mut self,
        _: &OnDevice,
        _: impl Iterator<Item = usize>,
        _: &mut [f32],
        _: usize,
    ) -> Result<()> {
        match *self {}
    }

    pub(super) fn normalized(&self, _: &OnDevice, _: &[f32]) -> Result<Vec<f32>> {
        match *self {}
    }

    pub(super) fn logits(&mut self, _: &OnDevice, _: Range<usize>) -> Result<Vec<f32>> {
        match *self {}
    }

    pub(super) fn rows(&self) -> usize {
        match *self {}
    }
}

impl Watching {
    pub(super) fn new(_: usize, _: &Loader<'_>, _: Shape, _: &[f32], _: [usize; 4]) -> Result<Watching> {
        Err(without())
    }

    pub(super) fn name(&self) -> &str {
        match *self {}
    }

    pub(super) fn load(&mut self, _: usize, _: &Loader<'_>) -> Result<()> {
        match *self {}
    }

    pub(super) fn unload(&mut self, _: usize) {
        match *self {}
    }

    pub(super) fn run(&mut self, _: usize, _: &mut [f32]) -> Result<()> {
        match *self {}
    }

    pub(super) fn sums(&self, _: usize) -> Result<Sums> {
        match *self {}
    }

    pub(super) fn set_sums(&mut self, _: usize, _: &Sums) -> Result<()> {
        match *self {}
    }
}
