//! A student learns, from a teacher or from text alone.

use super::compare::{Known, compare};
use super::model::Place;
use super::student::{self, Learning};
use super::teller::Teller;
use super::write;
use crate::arch::Count;
use crate::conversion::{Conversion, Target};
use crate::distill::{
    self, Beside, Cache, Divergence, Learnt, Length, Loss, Matching, Recovery, Run, Settings, State, Tokens,
};
use crate::error::{Error, Result, human_bytes};
use crate::machine::available_memory;
use crate::model::train::Network;
use crate::model::{Room, Weights};
use crate::options::{BesideArg, DistillArgs, FloatArg, TrainArgs, TrainingArgs};
use crate::plan::Container;
use crate::progress::Watch;
use crate::report::{DistillReport, render_distill_html, render_distill_markdown};
use crate::sink::beside;
use crate::source::{LEARNT, Source};
use crate::windows::{Text, Windows, check_tokens};
use crate::writing::Build;
use std::fs;
use std::path::Path;
use tersor_kernels::Level;

/// What stands in place of a teacher where there is none.
const NO_TEACHER: &str = "none";

/// From what a student learns besides the text.
struct Lessons {
    teacher: Option<Source>,
    loss: Loss,
    matching: Option<Matching>,
    cache: Option<Cache>,
}

/// What came of a run.
pub(crate) enum Outcome {
    /// What it would do, for a person.
    Planned(String),
    /// A student.
    Learnt(Box<DistillReport>),
}

/// `tersor distill`.
pub(crate) fn run(args: &DistillArgs, watch: &dyn Watch) -> Result<Outcome> {
    let texts = &args.training.texts;
    let teacher = (args.teacher != Path::new(NO_TEACHER)).then(|| Source::open(&args.teacher)).transpose()?;
    let learning = Learning { texts, threads: args.training.write.threads.get(), watch };
    let student = student::student(&args.student, teacher.as_ref(), &learning)?;
    teacher.iter().try_for_each(|teacher| check_tokens(&student, teacher))?;
    if teacher.is_none() && (args.hidden.is_some() || args.logits.is_some()) {
        let problem = "without a teacher there is neither a hidden state nor a logit to learn from".to_owned();
        return Err(Error::Usage { problem, hint: "name a teacher, or leave `--hidden` and `--logits` out".into() });
    }
    let loss = Loss {
        divergence: args.divergence.with(args.beta),
        temperature: args.temperature,
        cross_entropy: args.cross_entropy,
    };
    let matching = match (args.hidden, &teacher) {
        (Some(nearness), Some(teacher)) => {
            let [own, of] = [student.settings()?, teacher.settings()?].map(|settings| settings[Count::Layers] as usize);
            let pairs = args.layer_map.pairs(own, of)?;
            Some(Matching { nearness: nearness.get(), weight: args.hidden_weight, pairs })
        }
        _ => None,
    };
    let cache = args.logits.as_deref().map(Cache::open).transpose()?;
    learn(&args.training, student, Lessons { teacher, loss, matching, cache }, watch)
}

/// `tersor train`.
pub(crate) fn train(args: &TrainArgs, watch: &dyn Watch) -> Result<Outcome> {
    let loss = Loss { divergence: Divergence::Forward, temperature: 1.0, cross_entropy: 1.0 };
    let lessons = Lessons { teacher: None, loss, matching: None, cache: None };
    learn(&args.training, student::open(&args.config)?, lessons, watch)
}

fn learn(args: &TrainingArgs, student: Source, lessons: Lessons, watch: &dyn Watch) -> Result<Outcome> {
    let output = args.write.output.clone().unwrap_or_else(|| format!("{}-trained", student.name).into());
    if output.exists() && !args.write.force && !args.write.dry_run {
        return Err(Error::Exists { path: output });
    }
    if args.resume && !State::is_begun(&output) {
        let problem = format!("no run was begun that is to give `{}`", output.display());
        return Err(Error::Usage { problem, hint: "leave `--resume` out to begin".into() });
    }
    let level = Level::best();
    let room = Room::for_all(args.texts.ctx.max(1024));
    let place = Place { device: args.device.device, room, threads: args.write.threads.get() };
    let settings = settings(args, &lessons);
    let tokens = student::tokens(&student, &args.texts)?;
    let cut = |path| Windows::cut(&student, &Text { path, context: args.texts.ctx, chunks: Some(args.chunks) });
    let heldout = args.text.as_deref().map(cut).transpose()?;
    let memory = check_memory(args, &student)?;
    let digest = lessons.teacher.as_ref().map(Source::digest).transpose()?;
    let vocabulary = vocabulary(&tokens, &student, lessons.teacher.as_ref())?;
    if let (Some(cache), Some(digest)) = (&lessons.cache, &digest) {
        cache.check(digest, &tokens, lessons.loss.temperature, vocabulary)?;
    }
    let mut network = network(args, &student, level)?;
    let description = describe(&settings, &tokens, &network, digest.as_deref(), lessons.cache.is_some());
    prepare(args, &settings, &mut network, &student, lessons.teacher.as_ref())?;
    if args.write.dry_run {
        return Ok(Outcome::Planned(planned(&settings, &tokens, &network, memory)));
    }
    let state = State::open(&output, description, args.write.force)?;
    let folder = state.folder.clone();
    let name = (student.name.clone(), lessons.teacher.as_ref().map(|t| t.name.clone()));
    let teacher = |weights| {
        let source = lessons.teacher.clone();
        source.map(|source| Known::load(source, weights, place, watch)).transpose()
    };
    // With predictions at hand, the teacher is for held-out text alone.
    let needed = lessons.cache.is_none() || heldout.is_some();
    let weights = if settings.matmul_bf16 { Weights::Bf16 } else { Weights::AsStored };
    let mut known = if needed { teacher(weights)? } else { None };
    let run = Run {
        network,
        teacher: known.as_ref().map(Known::model),
        cache: lessons.cache.as_ref(),
        tokens: &tokens,
        heldout: heldout.as_ref(),
        vocabulary,
        settings: &settings,
        state,
        level,
    };
    let learnt = learnt(run, &settings, watch, &folder)?;
    let told = told(&settings, &learnt, &tokens, lessons.teacher.as_ref().zip(digest.as_deref()));
    let bytes = written(args, &learnt, &student, (&output, told), watch)?;
    // A student that was cut from its teacher has no folder that adapters could go with.
    if let (Some(Beside::Lora { rank, alpha }), false) =
        (settings.recover.as_ref().map(|r| r.beside), student.is_derived())
    {
        distill::write_adapter(&learnt.network, (rank, alpha), &student.path, &beside(&output, ".adapter"))?;
    }
    State::finish(&folder)?;
    let mut report = DistillReport::new(&output, name, &settings, &learnt, &folder, bytes);
    report.teacher_computed = known.as_ref().map(|known| known.model().computed().clone());
    drop(learnt);
    if known.is_none() || weights != Weights::AsStored {
        drop(known.take());
        known = teacher(Weights::AsStored)?;
    }
    let texts = heldout.as_ref().map_or_else(|| vec![tokens.fixed(0).0], |windows| windows.iter().collect());
    report.comparison = match compare(&output, known, heldout.as_ref(), &texts, place, watch) {
        // A person did not want to wait.
        Err(Error::Interrupted) => None,
        other => Some(other?),
    };
    write_pages(&report, &folder)?;
    Ok(Outcome::Learnt(Box::new(report)))
}

/// The pages of a run in `folder`.
fn write_pages(report: &DistillReport, folder: &Path) -> Result<()> {
    let page = render_distill_html(report, &distill::metrics(folder)?);
    for (name, text) in [("report.md", render_distill_markdown(report)), ("report.html", page)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

/// Ids that the tokenizer and both models know.
fn vocabulary(tokens: &Tokens, student: &Source, teacher: Option<&Source>) -> Result<usize> {
    let models = [Some(student), teacher].into_iter().flatten();
    let mut rows = models.map(|model| model.settings().map(|settings| settings[Count::Vocab] as usize));
    rows.try_fold(tokens.vocabulary(), |least, rows| Ok(least.min(rows?)))
}

fn network(args: &TrainingArgs, student: &Source, level: Level) -> Result<Network> {
    let threads = args.write.threads.get();
    if student.tensors().is_empty() {
        return Network::fresh(student, args.seed, level, threads);
    }
    Network::load(student, level, threads)
}

/// What of the student learns, what beside it, and on which grid.
fn prepare(
    args: &TrainingArgs,
    settings: &Settings,
    network: &mut Network,
    student: &Source,
    teacher: Option<&Source>,
) -> Result<()> {
    if settings.matmul_bf16 {
        network.multiply_in_bf16();
    }
    if settings.bf16 {
        distill::halve(network)?;
    }
    if let Some(recovery) = &settings.recover {
        recovery.apply(network, args.seed)?;
    }
    if let Some(kind) = args.quantize {
        distill::round(network, student, kind)?;
    }
    if let (Some(_), Some(teacher)) = (&settings.matching, teacher) {
        network.project(teacher.settings()?[Count::Hidden] as usize, args.seed);
    }
    Ok(())
}

fn learnt(run: Run<'_>, settings: &Settings, watch: &dyn Watch, folder: &Path) -> Result<Learnt> {
    let teller = Teller::new(watch, settings);
    let mut last = None;
    let found = {
        let _hold = watch.hold();
        run.learn(&teller, &mut |metric| teller.tell(metric, &mut last))
    };
    if let Err(Error::Interrupted) = &found {
        watch.say(&format!("the same command goes on from `{}`", folder.display()));
    }
    found
}

/// What the student tells of how it learnt, in one line.
fn told(settings: &Settings, learnt: &Learnt, tokens: &Tokens, teacher: Option<(&Source, &str)>) -> String {
    let Loss { divergence, temperature, cross_entropy } = settings.loss;
    let from = teacher.map_or_else(
        || "from text alone".to_owned(),
        |(source, digest)| {
            let (name, share) = (&source.name, 1.0 - cross_entropy);
            format!("from {name} {digest}, {share} of {divergence:?} at temperature {temperature}")
        },
    );
    let learns = match settings.recover.as_ref().map(|recovery| recovery.beside) {
        None => "all".to_owned(),
        Some(Beside::Lora { rank, alpha }) => format!("lora:{rank}:{alpha}"),
        Some(Beside::Scales) => "scales".to_owned(),
        Some(Beside::Nothing) => "norms".to_owned(),
    };
    format!(
        "{from}; texts {} of {} tokens; {} of {} steps of {} tokens; learns {learns}; level {}",
        tokens.digest(),
        tokens.total(),
        learnt.step,
        learnt.steps,
        settings.batch * settings.context,
        Level::best().name()
    )
}

/// Write the student as a folder, with what it tells; gives its bytes.
fn written(
    args: &TrainingArgs,
    learnt: &Learnt,
    student: &Source,
    (output, told): (&Path, String),
    watch: &dyn Watch,
) -> Result<u64> {
    let mut options = write::options(&args.write);
    options.output = Some(output.to_owned());
    let conversion = Conversion {
        max_file_bytes: args.write.split_max_size,
        ..Conversion::new(Container::Safetensors, Target::Keep)
    };
    let mut source = learnt.network.to_source(student)?;
    let before = student.fact(LEARNT).map(|text| format!("{text} | ")).unwrap_or_default();
    source.set_fact(LEARNT, before + &told);
    let build = Build::of(source, &conversion, options)?;
    write::write(&build, watch)?;
    Ok(build.layout.bytes())
}

fn settings(args: &TrainingArgs, lessons: &Lessons) -> Settings {
    let of_step = (args.batch * args.texts.ctx) as u64;
    let length = match (args.steps, args.tokens, args.minutes) {
        (_, _, Some(minutes)) => Length::Minutes(minutes),
        (_, Some(tokens), _) => Length::Steps(tokens.div_ceil(of_step)),
        (steps, ..) => Length::Steps(steps.unwrap_or_default()),
    };
    let recover = args.recover.map(|BesideArg(beside)| Recovery { beside, targets: args.recover_targets.clone() });
    Settings {
        loss: lessons.loss,
        matching: lessons.matching.clone(),
        batch: args.batch,
        context: args.texts.ctx,
        length,
        warmup: args.warmup,
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
        recover,
        matmul_bf16: args.matmul == FloatArg::Bf16,
        bf16: args.weights == FloatArg::Bf16,
        quantize: args.quantize.map(|kind| kind.name),
    }
}

/// Everything that decides the weights, in one line.
fn describe(settings: &Settings, tokens: &Tokens, network: &Network, teacher: Option<&str>, cached: bool) -> String {
    let (texts, student) = (tokens.digest(), network.digest());
    format!("{settings:?} texts={texts} student={student} teacher={teacher:?} cached={cached}")
}

/// What a run would do, for a person.
fn planned(settings: &Settings, tokens: &Tokens, network: &Network, memory: u64) -> String {
    let count =
        |all: bool| network.parameters().iter().filter(|p| all || p.trains).map(|p| p.values.len()).sum::<usize>();
    let of_step = settings.batch * settings.context;
    let length = match settings.length {
        Length::Steps(steps) => format!("{steps} steps, {} tokens", steps * of_step as u64),
        Length::Minutes(minutes) => format!("{minutes} min"),
    };
    let lines = [
        ("weights", format!("{:.1} M, of which {:.1} M learn", count(true) as f64 / 1e6, count(false) as f64 / 1e6)),
        ("text", format!("{} tokens, {of_step} of them a step", tokens.total())),
        ("learn", length),
        ("memory", format!("about {} beside a teacher's", human_bytes(memory))),
    ];
    lines.into_iter().map(|(name, value)| format!("{name:10} {value}\n")).collect()
}

/// An estimate before anything is loaded: weights, gradients, two moments, and what blocks keep.
fn check_memory(args: &TrainingArgs, student: &Source) -> Result<u64> {
    // Weight, gradient and moments, or the weight alone; and what it is made of.
    let learns = if args.recover.is_some() { 1 } else { 4 };
    let made = args.recover.is_some() || args.quantize.is_some() || args.weights == FloatArg::Bf16;
    let copies = learns + u64::from(made);
    let needed = Network::memory(&student.settings()?, copies, args.batch * args.texts.ctx, args.recompute);
    let bound = args.write.memory.map(|mib| u64::from(mib) << 20).or_else(available_memory);
    match bound.filter(|bound| needed > *bound) {
        Some(bound) => Err(Error::Usage {
            problem: format!("training needs about {}, and {} can be had", human_bytes(needed), human_bytes(bound)),
            hint: "pass `--recompute`, a smaller `--batch` or `--ctx`, or a smaller student".into(),
        }),
        None => Ok(needed),
    }
}
