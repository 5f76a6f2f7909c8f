//! What commands do, without the command line: from options to a report. Nothing here prints; who watches is told.

pub(crate) mod bench;
pub(crate) mod calibrate;
mod compare;
pub(crate) mod convert;
pub(crate) mod distill;
pub(crate) mod eval;
pub(crate) mod model;
pub(crate) mod prune;
pub(crate) mod quantize;
pub(crate) mod student;
mod teller;
pub(crate) mod write;
