//! Every tensor of the output against what the base's values become in its format.

use super::Comparison;
use crate::conversion::{Job, RECIPE, imatrix_in};
use crate::error::Result;
use crate::machine::in_parallel;
use crate::plan::TensorPlan;
use crate::run::{Limits, Rederive};
use crate::source::Source;
use crate::tensor::TensorId;
use tersor_kernels::{Fit, Level};

/// What one tensor turned out to be.
enum Outcome {
    Exact(Fit),
    WithinBound(Fit),
    Unread,
    Differs(String),
}

/// Compare all; gives the hash of the base.
pub(super) fn compare(
    job: &Job,
    base: &Source,
    written: &Source,
    limits: Limits,
    comparison: &mut Comparison,
) -> Result<String> {
    let plan: Vec<(TensorPlan, Option<TensorId>)> = job
        .plan
        .tensors
        .iter()
        .map(|t| {
            let id = written.find(&t.name).filter(|id| written.tensor(*id).shape == t.shape);
            (in_format_of(t, id.map(|id| written.tensor(id).format)), id)
        })
        .collect();
    missing(&plan, job, written, &mut comparison.differences);
    // Without the statistics that it was made with, its bytes cannot be told.
    let known = imatrix_in(written.fact(RECIPE).unwrap_or_default()).is_none() || !job.importance.is_empty();
    let ours = known && written.fact("tersor.version") == Some(env!("CARGO_PKG_VERSION"));
    let rederive = Rederive::new(job, base, limits.level)?;
    let all = in_parallel(limits.threads, plan.len(), |n| {
        let (t, id) = &plan[n];
        one(&rederive, t, *id, written, ours, limits.level)
    })?;
    let mut hashes = Vec::new();
    for ((t, _), (outcome, hash)) in plan.iter().zip(all) {
        hashes.extend(hash);
        count(t, outcome, comparison);
    }
    Ok(rederive.source_hash(hashes))
}

fn in_format_of(t: &TensorPlan, format: Option<&'static tersor_kernels::Format>) -> TensorPlan {
    TensorPlan { format: format.unwrap_or(t.format), ..t.clone() }
}

fn missing(plan: &[(TensorPlan, Option<TensorId>)], job: &Job, written: &Source, differences: &mut Vec<String>) {
    for (t, id) in plan {
        match (id, written.find(&t.name)) {
            (Some(_), _) => {}
            (None, None) => differences.push(format!("tensor `{}`: missing", t.name)),
            (None, Some(other)) => {
                let found = &written.tensor(other).shape;
                differences.push(format!("tensor `{}`: shape {found}, the base says {}", t.name, t.shape));
            }
        }
    }
    let wanted: std::collections::HashSet<&str> = job.plan.tensors.iter().map(|t| t.name.as_str()).collect();
    for t in written.tensors().iter().filter(|t| !wanted.contains(t.name.as_str())) {
        differences.push(format!("tensor `{}`: the base has none", t.name));
    }
}

fn count(t: &TensorPlan, outcome: Outcome, comparison: &mut Comparison) {
    let fit = match outcome {
        Outcome::Exact(fit) => {
            comparison.exact += 1;
            fit
        }
        Outcome::WithinBound(fit) => {
            comparison.within_bound += 1;
            fit
        }
        Outcome::Unread => {
            comparison.unread += 1;
            return;
        }
        Outcome::Differs(what) => {
            comparison.differences.push(format!("tensor `{}`: {what}", t.name));
            return;
        }
    };
    let error = fit.relative_rmse();
    if comparison.worst.as_ref().is_none_or(|(_, worst)| error > *worst) {
        comparison.worst = Some((t.name.clone(), error));
    }
}

/// Another writer's encoder may be worse than tersor's, or weigh columns, but not by more than this.
const WORSE: f64 = 3.0;

/// Compare one tensor piece by piece.
fn one(
    rederive: &Rederive<'_>,
    t: &TensorPlan,
    id: Option<TensorId>,
    written: &Source,
    ours: bool,
    level: Level,
) -> Result<(Outcome, Option<(String, blake3::Hash)>)> {
    let mut found = Vec::new();
    let mut values = Vec::new();
    let mut exact = true;
    let mut problem = None;
    let (mut total, mut own) = (Fit::default(), Fit::default());
    let readable = t.format.decoder().is_some() || t.is_copy();
    let hash = rederive.pieces(t, &mut |piece| {
        let Some(id) = id.filter(|_| readable && problem.is_none()) else { return Ok(()) };
        found.resize(piece.output_bytes, 0);
        written.read(id, piece.output_offset, &mut found)?;
        let same = piece.encoded.is_some_and(|bytes| bytes == found);
        exact &= same;
        if t.is_copy() && !same {
            problem = Some("bytes differ from the base's".to_owned());
        }
        let Some((decode, wanted)) = t.format.decoder().zip(piece.values) else { return Ok(()) };
        values.resize(wanted.len(), 0.0);
        decode(level, &found, &mut values);
        match fits(t, wanted, &values, piece.start) {
            Ok(fit) => total += fit,
            Err(what) => problem = Some(what),
        }
        if let Some(encoded) = piece.encoded.filter(|_| !same) {
            decode(level, encoded, &mut values);
            wanted.iter().zip(&values).for_each(|(x, y)| own += squares(*x, *y));
        }
        if ours && !same && problem.is_none() {
            let block = found.iter().zip(piece.encoded.unwrap_or(&[])).position(|(a, b)| a != b).unwrap_or(0);
            let at = piece.start + (block / t.format.bytes * t.format.block) as u64;
            problem = Some(format!("{} differs from what tersor writes{}", t.format.name, place(t, at)));
        }
        Ok(())
    })?;
    let bound = WORSE * own.relative_rmse();
    if !exact && problem.is_none() && own.energy > 0.0 && total.relative_rmse() > bound {
        problem = Some(format!("relative error {:.4}, the format can do with {bound:.4}", total.relative_rmse()));
    }
    let outcome = match (id, problem) {
        (Some(_), Some(what)) => Outcome::Differs(what),
        (None, _) => return Ok((Outcome::Unread, hash)),
        _ if !readable => Outcome::Unread,
        _ if exact => Outcome::Exact(total),
        _ => Outcome::WithinBound(total),
    };
    Ok((outcome, hash))
}

fn place(t: &TensorPlan, at: u64) -> String {
    let cols = t.shape.cols().max(1);
    format!(" at row {}, column {}", at / cols, at % cols)
}

/// The squares of the error, or the first value that is further off than the format's bound.
fn fits(t: &TensorPlan, wanted: &[f32], found: &[f32], start: u64) -> Result<Fit, String> {
    let worst = t.format.codec.map(|c| c.worst).filter(|_| t.format.encoder().is_some());
    let mut fit = Fit::default();
    let block = t.format.block;
    for (n, (x, y)) in wanted.chunks(block).zip(found.chunks(block)).enumerate() {
        let bound = worst.map_or(f32::INFINITY, |w| w(x));
        for (i, (x, y)) in x.iter().zip(y).enumerate() {
            let error = f64::from(y - x);
            if x.is_finite() && (error.is_nan() || error.abs() > f64::from(bound)) {
                let at = place(t, start + (n * block + i) as u64);
                return Err(format!("{y} for {x}{at}, {} allows an error of {bound:e}", t.format.name));
            }
            fit += squares(*x, *y);
        }
    }
    Ok(fit)
}

fn squares(x: f32, y: f32) -> Fit {
    let (error, x) = (f64::from(y - x), f64::from(x));
    Fit { error: error * error, energy: x * x }
}
