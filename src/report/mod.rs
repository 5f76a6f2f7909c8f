//! What a command has to say, as data first; text is one rendering of it, JSON another.

mod inspect;
mod plan;
mod text;

pub use inspect::Inspection;
pub use plan::{PlanReport, RunReport};
pub use text::{render_comparison, render_inspection, render_plan, render_run};

/// Version of the JSON forms: grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;
