//! The plan of a writing command, and what became of it.

use crate::SCHEMA;
use crate::arch::Role;
use crate::conversion::Job;
use crate::machine;
use crate::plan::{Container, Input, TensorPlan, Why};
use crate::run::Measured;
use crate::writing::{Build, Built, Checked};
use serde::Serialize;
use std::path::PathBuf;
use tersor_kernels::{Class, Fit};

/// `--dry-run`.
#[derive(Debug, Serialize)]
pub struct PlanReport {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// The model.
    pub source: PathBuf,
    /// The output's files.
    pub outputs: Vec<PathBuf>,
    /// Its kind.
    pub container: Container,
    /// What was asked for, in one line.
    pub recipe: String,
    /// Every tensor.
    pub tensors: Vec<TensorRow>,
    /// Tensors that are left out: name and reason.
    pub dropped: Vec<(String, &'static str)>,
    /// Sums.
    pub totals: Totals,
    /// Worker threads.
    pub threads: usize,
    /// Instruction set.
    pub level: &'static str,
    /// Bytes that the workers will hold.
    pub working_memory: u64,
    /// Bytes free where the output goes.
    pub free_disk: u64,
}

/// One tensor.
#[derive(Debug, Serialize)]
pub struct TensorRow {
    /// Name in the output.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Sizes, slowest first.
    pub shape: Vec<u64>,
    /// Format in the source; absent for computed tensors.
    pub from: Option<&'static str>,
    /// Format in the output.
    pub to: &'static str,
    /// Bytes in the output.
    pub bytes: u64,
    /// The reason.
    pub why: String,
    /// The wanted format, where it could not be had.
    pub fallback_from: Option<&'static str>,
}

/// Sums over tensors.
#[derive(Debug, Serialize)]
pub struct Totals {
    /// Bytes of the source's tensors.
    pub bytes_before: u64,
    /// Bytes of the output: of a folder the tensors, otherwise the files.
    pub bytes_after: u64,
    /// Number of values.
    pub weights: u64,
    /// Average storage cost of a value.
    pub bits_per_weight: f64,
    /// Per format: tensors and bytes.
    pub formats: Vec<FormatRow>,
    /// Tensors that did not get the wanted format.
    pub fallbacks: usize,
    /// What that costs in bytes; less than 0 where the substitutes are smaller.
    pub fallback_bytes: f64,
    /// What the importance matrix says of the tensors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imatrix: Option<Weighed>,
}

/// Tensors in blocks, with statistics and without.
#[derive(Debug, Serialize)]
pub struct Weighed {
    /// Tensors whose errors are weighed.
    pub with: usize,
    /// Matrices of layers that have no statistics.
    pub without: Vec<String>,
    /// Columns that got the mean of their matrix: no input there was ever other than zero, or one was not finite.
    pub filled_columns: usize,
}

/// Tensors of one format.
#[derive(Debug, Serialize)]
pub struct FormatRow {
    /// The format.
    pub format: &'static str,
    /// How many tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What a writing command ends with.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// The model.
    pub source: PathBuf,
    /// The output's files.
    pub outputs: Vec<PathBuf>,
    /// Its kind.
    pub container: Container,
    /// What was asked for, in one line.
    pub recipe: String,
    /// Matrices are kept as values and bits, which current servers do not read.
    pub sparse: bool,
    /// Sums.
    pub totals: Totals,
    /// Every tensor.
    pub tensors: Vec<WrittenTensor>,
    /// Largest relative root mean square error of a tensor, and its name.
    pub worst: Option<Worst>,
    /// BLAKE3 of what was read.
    pub source_blake3: String,
    /// The structure was read back.
    pub checked: bool,
    /// Texts on which the output's tokenizer was run beside the source's.
    pub tokenizer_texts: usize,
    /// Seconds from the first read to the last rename.
    pub seconds: f64,
    /// Worker threads.
    pub threads: usize,
    /// Largest resident memory of the process in bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

/// What became of a tensor.
#[derive(Debug, Serialize)]
pub struct WrittenTensor {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its block.
    pub layer: Option<u32>,
    /// Its format.
    pub format: &'static str,
    /// The wanted format, where it could not be had.
    pub fallback_from: Option<&'static str>,
    /// Number of values.
    pub values: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Root of the squared error over root of the squares.
    pub relative_rmse: f64,
    /// Zeros among its values as they are read back, where the run counts them.
    pub zeros: Option<u64>,
}

/// The tensor that lost most.
#[derive(Debug, Serialize)]
pub struct Worst {
    /// Its name.
    pub tensor: String,
    /// Its format.
    pub format: &'static str,
    /// Root of the squared error over root of the squares.
    pub relative_rmse: f64,
}

impl PlanReport {
    /// The plan of a build.
    pub fn new(build: &Build) -> PlanReport {
        let rows = build.job.plan.tensors.iter().map(|t| TensorRow {
            name: t.name.clone(),
            role: t.role,
            shape: t.shape.dims().to_vec(),
            from: match &t.input {
                Input::Stored { format, .. } => Some(format.name),
                Input::Computed(_) => None,
            },
            to: t.format.name,
            bytes: t.bytes(),
            why: t.why.to_string(),
            fallback_from: fallback_from(t),
        });
        PlanReport {
            schema: SCHEMA,
            source: build.source.path.clone(),
            outputs: outputs(build),
            container: build.job.plan.container,
            recipe: build.conversion.provenance(),
            tensors: rows.collect(),
            dropped: build.job.plan.dropped.clone(),
            totals: totals(build),
            threads: build.limits.threads,
            level: build.limits.level.name(),
            working_memory: build.working_memory,
            free_disk: build.free_disk,
        }
    }
}

impl RunReport {
    /// What became of a build.
    pub fn new(build: &Build, built: &Built) -> RunReport {
        let tensors = build.job.plan.tensors.iter().zip(&built.measured.fits);
        let worst = tensors.filter(|(_, fit)| fit.error > 0.0).max_by(|a, b| {
            let (a, b) = (a.1.relative_rmse(), b.1.relative_rmse());
            a.total_cmp(&b)
        });
        RunReport {
            schema: SCHEMA,
            source: build.source.path.clone(),
            outputs: outputs(build),
            container: build.job.plan.container,
            recipe: build.conversion.provenance(),
            sparse: build.job.plan.tensors.iter().any(|t| t.name.ends_with(".bitmask")),
            totals: totals(build),
            tensors: written_tensors(build, built),
            worst: worst.map(|(t, fit)| Worst {
                tensor: t.name.clone(),
                format: t.format.name,
                relative_rmse: fit.relative_rmse(),
            }),
            source_blake3: built.measured.source_hash.clone(),
            checked: built.checked != Checked::No,
            tokenizer_texts: match built.checked {
                Checked::Yes { texts } => texts,
                Checked::No => 0,
            },
            seconds: built.time.as_secs_f64(),
            threads: build.limits.threads,
            peak_memory: machine::peak_memory(),
        }
    }
}

fn fallback_from(t: &TensorPlan) -> Option<&'static str> {
    match &t.why {
        Why::Fallback { wanted, .. } => Some(wanted.name),
        _ => None,
    }
}

fn written_tensors(build: &Build, built: &Built) -> Vec<WrittenTensor> {
    let Measured { fits, zeros, .. } = &built.measured;
    let results = build.job.plan.tensors.iter().zip(fits).zip(zeros);
    let row = |((t, fit), zeros): ((&TensorPlan, &Fit), &u64)| WrittenTensor {
        name: t.name.clone(),
        role: t.role,
        layer: t.layer,
        format: t.format.name,
        fallback_from: fallback_from(t),
        values: t.shape.values(),
        bytes: t.bytes(),
        relative_rmse: fit.relative_rmse(),
        zeros: build.job.count_zeros.then_some(*zeros),
    };
    results.map(row).collect()
}

/// The files, or the folder.
fn outputs(build: &Build) -> Vec<PathBuf> {
    match build.layout.folder {
        true => vec![build.layout.target.clone()],
        false => build.layout.files.iter().map(|f| f.path.clone()).collect(),
    }
}

fn totals(build: &Build) -> Totals {
    let plan = &build.job.plan;
    let costs: Vec<f64> = plan.tensors.iter().filter_map(|t| t.fallback_cost()).collect();
    let formats = plan.formats().into_iter().map(|(f, tensors, bytes)| FormatRow { format: f.name, tensors, bytes });
    Totals {
        bytes_before: plan.source_bytes,
        // A folder has a tokenizer beside its weights, as the source has.
        bytes_after: if build.layout.folder { plan.bytes() } else { build.layout.bytes() },
        weights: plan.values(),
        bits_per_weight: plan.bits_per_weight(),
        formats: formats.collect(),
        imatrix: weighed(&build.job),
        fallbacks: costs.len(),
        fallback_bytes: costs.iter().fold(0.0, |sum, cost| sum + cost),
    }
}

/// `None` without an importance matrix.
fn weighed(job: &Job) -> Option<Weighed> {
    if job.importance.is_empty() {
        return None;
    }
    let blocks = job.plan.tensors.iter().filter(|t| t.format.class == Class::Block && t.shape.rank() == 2);
    let (with, without): (Vec<_>, Vec<_>) = blocks.partition(|t| job.importance.contains_key(&t.name));
    let in_layers = without.into_iter().filter(|t| t.layer.is_some());
    let without = in_layers.map(|t| t.name.clone()).collect();
    Some(Weighed { with: with.len(), without, filled_columns: job.filled_columns })
}
