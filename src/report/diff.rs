//! Two models beside each other.

use super::text::table;
use crate::error::{count, human_bytes};
use crate::verify::{Diff, Pair};

/// A line for each tensor that differs, and sums.
pub fn render_diff(diff: &Diff) -> String {
    let differs = |pair: &&Pair| {
        pair.formats[0] != pair.formats[1] || pair.shapes[0] != pair.shapes[1] || pair.relative_rmse != Some(0.0)
    };
    let both = |texts: [String; 2]| {
        let [a, b] = texts;
        if a == b { a } else { format!("{a} -> {b}") }
    };
    let mut rows = vec![["tensor", "shape", "format", "size", "relative RMSE", "zeros"].map(str::to_owned).to_vec()];
    let percent = |zeros: f64| format!("{:.1} %", 100.0 * zeros);
    for pair in diff.tensors.iter().filter(differs) {
        let shape = |dims: &Vec<u64>| dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
        rows.push(vec![
            pair.name.clone(),
            both(pair.shapes.each_ref().map(shape)),
            both(pair.formats.map(str::to_owned)),
            both(pair.bytes.map(human_bytes)),
            pair.relative_rmse.map_or_else(|| "?".into(), |error| format!("{error:.5}")),
            pair.zeros.map_or_else(String::new, |zeros| both(zeros.map(percent))),
        ]);
    }
    let alike = diff.tensors.len() - (rows.len() - 1);
    let mut text =
        if rows.len() > 1 { table(&rows, &[false, false, false, false, true, false]) } else { String::new() };
    for (names, model) in diff.alone.iter().zip(&diff.models) {
        for name in names {
            text += &format!("only in {}: {name}\n", model.display());
        }
    }
    let sizes = both(diff.bytes.map(human_bytes));
    text + &format!("{} alike, tensors {sizes}\n", count(alike, "tensor"))
}
