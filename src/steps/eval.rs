//! `tersor eval`.

use super::model::{self, Place};
use crate::error::Result;
use crate::eval::{Asked, Prompts, Questions, Scores, Task, TaskScores, WrittenScores, evaluate};
use crate::model::{Model, Room, Weights};
use crate::options::EvalArgs;
use crate::progress::{Unit, Watch, metered};
use crate::report::{EvalReport, TextReport};
use crate::source::Source;
use crate::windows::Windows;
use std::path::Path;

pub(crate) fn run(args: &EvalArgs, watch: &dyn Watch) -> Result<EvalReport> {
    // Whatever is wrong with what was given is found before any weight is loaded.
    let source = Source::open(&args.model)?;
    let base_source = args.base.as_deref().map(Source::open).transpose()?;
    let windows = model::windows(&args.text, &source, base_source.as_ref())?;
    let work = Work::prepare(args, &source)?;
    let base_work = base_source.as_ref().map(|source| Work::prepare(args, source)).transpose()?;

    // Questions and prompts are cut to what the model takes; most are shorter than this.
    let room = Room::for_all(windows.as_ref().map_or(0, |windows| windows.context).max(1024));
    let place = Place { device: args.device.device, room, threads: args.threads.get() };
    let load = |source, weights| model::load(source, weights, place, watch);
    let base = base_source.map(|source| load(source, Weights::Decoded)).transpose()?;
    let mut report = EvalReport::new(&args.model, args.base.as_deref());
    let quantized = {
        let model = load(source, Weights::AsStored)?;
        if let Some((path, windows)) = args.text.text.as_deref().zip(windows.as_ref()) {
            report.text = Some(TextReport::new(path, windows, scores(&model, base.as_ref(), windows, watch)?));
        }
        (report.tasks, report.written) = work.run(&model, watch)?;
        report.computed = Some(model.computed().clone());
        model.is_quantized()
    };
    if let (Some(text), Some(windows), true) = (&mut report.text, &windows, quantized) {
        let model = load(Source::open(&args.model)?, Weights::Decoded)?;
        text.weights_only = Some(scores(&model, base.as_ref(), windows, watch)?);
    }
    if let Some((base, work)) = base.zip(base_work) {
        (report.base_tasks, report.base_written) = work.run(&base, watch)?;
    }
    Ok(report)
}

/// What one model is asked, by its own tokenizer.
struct Work {
    tasks: Vec<Questions>,
    prompts: Option<Prompts>,
}

impl Work {
    fn prepare(args: &EvalArgs, source: &Source) -> Result<Work> {
        let asked = Asked { shots: args.shots, limit: args.limit };
        let data = args.data.as_deref().unwrap_or(Path::new("."));
        let task = |name: &String| Questions::new(source, &Task::read(name, data)?, asked);
        let tasks = args.tasks.iter().map(task).collect::<Result<_>>()?;
        let prompts = args.generate.as_deref().map(|path| Prompts::read(path, source, args.tokens)).transpose()?;
        Ok(Work { tasks, prompts })
    }

    fn run(&self, model: &Model, watch: &dyn Watch) -> Result<(Vec<TaskScores>, Option<WrittenScores>)> {
        let ask = |task: &Questions| metered(watch, Unit::Tokens, task.total(), |meter| task.ask(model, meter));
        let tasks = self.tasks.iter().map(ask).collect::<Result<_>>()?;
        let write =
            |prompts: &Prompts| metered(watch, Unit::Tokens, prompts.total(), |meter| prompts.write(model, meter));
        Ok((tasks, self.prompts.as_ref().map(write).transpose()?))
    }
}

/// Score with a meter.
pub(crate) fn scores(model: &Model, base: Option<&Model>, windows: &Windows, watch: &dyn Watch) -> Result<Scores> {
    metered(watch, Unit::Tokens, windows.total(), |meter| evaluate(model, base, windows, meter))
}
