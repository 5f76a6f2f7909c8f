//! Whole runs: the same bytes however they are made, every container to every other, and what a run leaves behind when
//! it cannot finish.

#[path = "../support/mod.rs"]
mod support;

mod bitmask;
mod choices;
mod containers;
mod differences;
mod pruning;
mod repeatable;
mod safety;
mod sources;
mod training;
mod writing;
