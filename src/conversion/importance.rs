//! Which statistics belong to which tensor of a plan.

use super::Conversion;
use crate::error::{Error, Result};
use crate::plan::Plan;
use std::collections::HashMap;

/// By tensor, what an error in its columns counts, and how many columns got the mean of the others.
///
/// # Errors
/// Statistics of another model; a matrix of a layer without any, for a strict conversion.
pub(super) fn of_plan(plan: &Plan, conversion: &Conversion) -> Result<(HashMap<String, Vec<f32>>, usize)> {
    let Some(statistics) = &conversion.importance else { return Ok(Default::default()) };
    let usage = |problem: String, hint: &str| Err(Error::Usage { problem, hint: hint.into() });
    let (mut found, mut filled) = (HashMap::new(), 0);
    for t in plan.tensors.iter().filter(|t| t.shape.rank() == 2) {
        let Some((columns, means)) = statistics.importance(&t.name) else {
            if conversion.strict && t.layer.is_some() {
                let problem = format!("tensor `{}` has no statistics", t.name);
                return usage(problem, "collect them with this model, or leave out `--strict`");
            }
            continue;
        };
        if columns.len() as u64 != t.shape.cols() {
            let problem = format!(
                "statistics of another model: `{}` has {} columns there and {} here",
                t.name,
                columns.len(),
                t.shape.cols()
            );
            return usage(problem, "collect them with this model, by `tersor calibrate`");
        }
        filled += means;
        found.insert(t.name.clone(), columns);
    }
    if found.is_empty() {
        let example = statistics.entries.keys().next().map_or("none", String::as_str);
        let problem = format!("statistics of another model: no tensor has any (theirs are of `{example}` and others)");
        return usage(problem, "collect them with this model, by `tersor calibrate`");
    }
    Ok((found, filled))
}
