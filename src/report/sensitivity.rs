//! What blocks and matrices cost.

use super::text::table;
use crate::prune::{Cost, Sensitivity};

/// A row per block with its dearest matrix.
pub fn render_sensitivity(found: &Sensitivity) -> String {
    let head = ["block", "pruned", "quantized", "dearest to prune", "", "to quantize", ""];
    let dearest = |block: &str, cost: fn(&Cost) -> f64| {
        let prefix = format!("blk.{block}.");
        let own = found.tensors.iter().filter(|t| t.name.starts_with(&prefix));
        let most = own.max_by(|a, b| cost(a).total_cmp(&cost(b)));
        most.map_or([String::new(), String::new()], |t| {
            let name = t.name.trim_start_matches(&prefix).trim_end_matches(".weight");
            [name.to_owned(), format!("{:.6}", cost(t))]
        })
    };
    let rows = found.blocks.iter().map(|block| {
        let figures = [block.name.clone(), format!("{:.6}", block.prune), format!("{:.6}", block.quantize)];
        [&figures[..], &dearest(&block.name, |t| t.prune), &dearest(&block.name, |t| t.quantize)].concat()
    });
    let rows: Vec<Vec<String>> = [head.map(str::to_owned).to_vec()].into_iter().chain(rows).collect();
    let what = format!(
        "mean KL with one block or matrix at {} sparsity by {}, or in {}, on {} contexts of {} tokens of {}\n",
        found.sparsity, found.method, found.format, found.contexts, found.context, found.text
    );
    what + &table(&rows, &[true, true, true, false, true, false, true])
}
