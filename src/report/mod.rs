//! What a command has to say, as data first; text is one rendering of it, JSON another.

mod bench;
mod diff;
mod distill;
mod eval;
mod formats;
mod generate;
mod inspect;
mod learning;
mod page;
mod plan;
mod prune;
mod recipe;
mod sensitivity;
mod svg;
mod text;

pub use bench::{BenchModel, BenchReport, render_bench, render_bench_markdown};
pub use diff::render_diff;
pub use distill::{Compared, Comparison, DistillReport, Sample, render_distill};
pub use eval::{EvalReport, TextReport, render_eval};
pub(crate) use formats::support;
pub use formats::{Measured, format_page, formats_page, shown_format};
pub use generate::GenerateReport;
pub use inspect::Inspection;
pub use learning::{render_distill_html, render_distill_markdown};
pub use plan::{PlanReport, RunReport, WrittenTensor};
pub use prune::{PruneReport, SparseTensor, render_prune};
pub use recipe::{KeptResult, Limit, Measurement, RecipeReport, render_model_html, render_recipe, render_recipe_html};
pub use sensitivity::render_sensitivity;
pub use text::{render_comparison, render_inspection, render_plan, render_run};
