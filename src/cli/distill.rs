//! `tersor distill` and `tersor train`.

use super::args::{DistillArgs, StudentArg, TrainArgs, TrainingArgs};
use super::interrupt::{self, Writing};
use super::progress::{Unit, metered};
use super::{model, print, print_json, write};
use crate::arch::Count;
use crate::build::Build;
use crate::distill::{Divergence, Learnt, Loss, Metric, Run, Settings, State, Tokens};
use crate::error::{Error, Result, human_bytes};
use crate::machine::available_memory;
use crate::model::Weights;
use crate::model::train::Network;
use crate::plan::Container;
use crate::progress::{Progress, Silent};
use crate::prune::{self, Method};
use crate::recipe::{Recipe, Target};
use crate::report::{DistillReport, render_distill};
use crate::source::Source;
use crate::windows::{Text, Windows, check_tokens};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tersor_kernels::Level;

/// Between two lines about steps.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) fn run(args: &DistillArgs) -> Result<ExitCode> {
    let teacher = Source::open(&args.teacher)?;
    let student = match &args.student {
        StudentArg::Depth(blocks) => shallower(&teacher, *blocks)?,
        StudentArg::Model(path) => open(path)?,
    };
    check_tokens(&student, &teacher)?;
    let loss = Loss {
        divergence: args.divergence.with(args.beta),
        temperature: args.temperature,
        cross_entropy: args.cross_entropy,
    };
    learn(&args.training, student, Some(teacher), loss)
}

pub(super) fn train(args: &TrainArgs) -> Result<ExitCode> {
    let loss = Loss { divergence: Divergence::Forward, temperature: 1.0, cross_entropy: 1.0 };
    learn(&args.training, open(&args.config)?, None, loss)
}

/// A checkpoint, or a config.json without weights.
fn open(path: &Path) -> Result<Source> {
    if path.file_name().is_some_and(|name| name == "config.json") {
        return Source::without_weights(path);
    }
    Source::open(path)
}

/// Blocks of the teacher, evenly spread, the first and the last among them.
fn shallower(teacher: &Source, blocks: usize) -> Result<Source> {
    let all = teacher.settings()?[Count::Layers] as usize;
    if blocks == 0 || blocks > all {
        let problem = format!("{blocks} blocks cannot be kept of {all}");
        return Err(Error::Usage { problem, hint: format!("ask for 1 to {all}") });
    }
    let kept: Vec<usize> = (0..blocks).map(|n| (n * (all - 1) + (blocks - 1) / 2) / (blocks - 1).max(1)).collect();
    let dropped = (0..all).filter(|n| !kept.contains(n)).collect();
    if blocks == all {
        return Ok(teacher.clone());
    }
    let settings = prune::Settings { level: Level::best(), threads: 1, progress: &Silent };
    Ok(prune::prune(teacher.clone(), &Method::Drop(dropped), &settings)?.source)
}

fn learn(args: &TrainingArgs, student: Source, teacher: Option<Source>, loss: Loss) -> Result<ExitCode> {
    let output = args.write.output.clone().unwrap_or_else(|| format!("{}-trained", student.name).into());
    if output.exists() && !args.write.force && !args.write.dry_run {
        return Err(Error::Exists { path: output });
    }
    let settings = settings(args, loss);
    let tokens = Tokens::read(&student, &args.train, &args.field, args.ctx)?;
    let cut = |path| Windows::cut(&student, &Text { path, context: args.ctx, chunks: Some(args.chunks) });
    let heldout = args.text.as_deref().map(cut).transpose()?;
    check_memory(args, &student)?;
    let threads = args.write.threads.get();
    let level = Level::best();
    let network = if student.tensors().is_empty() {
        Network::fresh(&student, args.seed, level, threads)?
    } else {
        Network::load(&student, level, threads)?
    };
    let vocabulary = tokens.vocabulary().min(student.settings()?[Count::Vocab] as usize);
    let name = (student.name.clone(), teacher.as_ref().map(|t| t.name.clone()));
    let description = describe(&settings, &tokens, &network, teacher.as_ref())?;
    let teacher =
        teacher.map(|source| model::load(source, Weights::AsStored, threads, args.write.quiet)).transpose()?;
    let vocabulary = teacher.as_ref().map_or(vocabulary, |t| vocabulary.min(t.vocabulary()));
    if args.write.dry_run {
        print(&(description + "\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let state = State::open(&output, description, args.write.force)?;
    let folder = state.folder.clone();
    let run = Run {
        network,
        teacher: teacher.as_ref(),
        tokens: &tokens,
        heldout: heldout.as_ref(),
        vocabulary,
        settings: &settings,
        state,
        level,
    };
    let started = Instant::now();
    let teller = Teller::new(args.write.quiet, &settings);
    let mut last = None;
    let learnt = {
        let _writing = Writing::begin();
        run.learn(&teller, &mut |metric| teller.tell(metric, &mut last))?
    };
    let time = started.elapsed();
    let bytes = written(args, &learnt, &student, &output)?;
    State::finish(&folder)?;
    let report = DistillReport::new(name, &settings, &learnt, &folder, bytes, time, teller.tokens());
    if args.write.json {
        print_json(&report)
    } else {
        print(&render_distill(&report))
    }
    Ok(ExitCode::SUCCESS)
}

/// Write the student as a folder; gives its bytes.
fn written(args: &TrainingArgs, learnt: &Learnt, student: &Source, output: &Path) -> Result<u64> {
    let mut options = write::options(&args.write);
    options.output = Some(output.to_owned());
    let recipe =
        Recipe { max_file_bytes: args.write.split_max_size, ..Recipe::new(Container::Safetensors, Target::Keep) };
    let build = Build::of(learnt.network.to_source(student)?, &recipe, options)?;
    metered(args.write.quiet, Unit::Bytes, write::bytes(&build), |meter| build.write(meter))?;
    Ok(build.layout.bytes())
}

fn settings(args: &TrainingArgs, loss: Loss) -> Settings {
    let of_step = (args.batch * args.ctx) as u64;
    let steps = args.steps.or_else(|| args.tokens.map(|tokens| tokens.div_ceil(of_step))).unwrap_or_default().max(1);
    Settings {
        loss,
        batch: args.batch,
        context: args.ctx,
        steps,
        warmup: args.warmup.unwrap_or(steps.div_ceil(20)).min(steps),
        lr: args.lr,
        last_lr: args.last_lr,
        schedule: args.schedule.get(),
        betas: [args.beta1, args.beta2],
        eps: args.eps,
        decay: args.weight_decay,
        clip: args.clip,
        dropout: args.dropout,
        seed: args.seed,
        every: args.every,
        patience: args.patience,
        recompute: args.recompute,
    }
}

/// Everything that decides the weights, in one line.
fn describe(settings: &Settings, tokens: &Tokens, network: &Network, teacher: Option<&Source>) -> Result<String> {
    let teacher = teacher.map(Source::digest).transpose()?;
    Ok(format!("{settings:?} texts={} student={} teacher={teacher:?}", tokens.digest(), network.digest()))
}

/// An estimate before anything is loaded: weights, gradients, two moments, and what blocks keep.
fn check_memory(args: &TrainingArgs, student: &Source) -> Result<()> {
    let needed = Network::memory(&student.settings()?, args.batch * args.ctx, args.recompute);
    let bound = args.write.memory.map(|mib| u64::from(mib) << 20).or_else(available_memory);
    match bound.filter(|bound| needed > *bound) {
        Some(bound) => Err(Error::Usage {
            problem: format!("training needs about {}, and {} can be had", human_bytes(needed), human_bytes(bound)),
            hint: "pass `--recompute`, a smaller `--batch` or `--ctx`, or a smaller student".into(),
        }),
        None => Ok(()),
    }
}

/// Tells a person how a run goes on.
struct Teller {
    quiet: bool,
    started: Instant,
    steps: u64,
    of_step: u64,
    resumed: AtomicU64,
    done: AtomicU64,
}

impl Teller {
    fn new(quiet: bool, settings: &Settings) -> Teller {
        let of_step = (settings.batch * settings.context) as u64;
        let (resumed, done) = Default::default();
        Teller { quiet, started: Instant::now(), steps: settings.steps, of_step, resumed, done }
    }

    /// Tokens of this run, without those of a run before it.
    fn tokens(&self) -> u64 {
        self.done.load(Ordering::Relaxed) - self.resumed.load(Ordering::Relaxed)
    }

    fn tell(&self, metric: &Metric, last: &mut Option<Instant>) {
        let due = metric.heldout.is_some() || last.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        if self.quiet || !due {
            return;
        }
        *last = Some(Instant::now());
        let rate = self.tokens() as f64 / self.started.elapsed().as_secs_f64();
        let left = ((self.steps - metric.step) * self.of_step) as f64 / rate.max(1.0);
        let mut line = format!("step {}/{}  loss {:.4}", metric.step, self.steps, metric.loss);
        if let (Some(kl), Some(entropy)) = (metric.divergence, metric.cross_entropy) {
            line += &format!(" (divergence {kl:.4}, cross-entropy {entropy:.4})");
        }
        line += &format!("  lr {:.2e}  {rate:.0} tokens/s  {left:.0} s left", metric.lr);
        if let Some(heldout) = &metric.heldout {
            let kl = heldout.kl.map_or(String::new(), |kl| format!("KL {kl:.4}, "));
            let best = if heldout.best { ", best" } else { "" };
            line += &format!("  held-out: {kl}perplexity {:.3}{best}", heldout.perplexity);
        }
        eprintln!("{line}");
    }
}

impl Progress for Teller {
    fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
    }

    fn resume(&self, units: u64) {
        self.resumed.store(units, Ordering::Relaxed);
        self.done.store(units, Ordering::Relaxed);
        if !self.quiet {
            eprintln!("going on after step {}", units / self.of_step);
        }
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}
