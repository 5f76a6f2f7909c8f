//! Searches for scales, that formats share. Sixteen sub-blocks are searched at once, one in each lane; see [`tile`].
//!
//! What is made small is the weighed square of the error: the weights are the importance of the columns, or 1.

pub(super) mod affine;
pub(super) mod grid;
pub(super) mod symmetric;
pub(super) mod tile;
