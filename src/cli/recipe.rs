//! `tersor init`, `tersor run`, `tersor report`, `tersor cache` and `tersor schema`.

use super::progress::Console;
use super::{FAILED_LIMIT, TO_DO, print, print_json, tell};
use crate::error::{Error, Result, count, human_bytes};
use crate::options::{CacheArgs, CacheCommand, InitArgs, ReportArgs, RunArgs};
use crate::progress::{Unit, metered};
use crate::recipe::{self, Cache, How, Outcome, Recipe};
use crate::report::{RecipeReport, render_model_html, render_recipe, render_recipe_html};
use crate::sink::write_file;
use crate::source::Source;
use crate::verify::diff;
use std::process::ExitCode;

pub(super) fn init(args: &InitArgs) -> Result<ExitCode> {
    write_file(&args.output, recipe::template(&args.model)?.into_bytes(), args.force)?;
    print(&format!("{}: see what it says, then `tersor run`\n", args.output.display()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn schema() -> ExitCode {
    print_json(&recipe::schema());
    ExitCode::SUCCESS
}

pub(super) fn run(args: &RunArgs) -> Result<ExitCode> {
    let recipe = Recipe::from_path(&args.recipe)?;
    let own;
    let cache = if args.no_cache {
        own = Passing::beside(&args.recipe)?;
        &own.0
    } else {
        &Cache::open(args.cache.cache.as_deref())?
    };
    let mut planned = recipe.resolve(cache, args.rehash || args.locked)?;
    if args.check || args.dry_run {
        let to_do = planned.to_do()?;
        if args.json {
            print_json(&to_do);
        } else if to_do.is_empty() {
            print("nothing to do\n");
        } else {
            print(&to_do.iter().map(|reason| format!("to do: {reason}\n")).collect::<String>());
        }
        return Ok(if args.check && !to_do.is_empty() { ExitCode::from(TO_DO) } else { ExitCode::SUCCESS });
    }
    let again = args.report.is_some();
    let how = How {
        locked: args.locked,
        force: args.force,
        again,
        threads: args.threads.given(),
        artifacts: args.artifacts.artifacts.clone(),
    };
    let outcome = planned.run(cache, &how, &Console { quiet: args.quiet })?;
    if let (Some(path), false) = (&args.depfile, matches!(outcome, Outcome::Failed(_))) {
        write_file(path, planned.depfile().into_bytes(), true)?;
        planned.touch()?;
    }
    match outcome {
        Outcome::UpToDate => {
            print(if args.json { "{}\n" } else { "nothing to do\n" });
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Done(report) => {
            write_page(args, &report)?;
            Ok(tell(args.json, &report, || render_recipe(&report)))
        }
        Outcome::Failed(report) => {
            write_page(args, &report)?;
            tell(args.json, &report, || render_recipe(&report));
            Ok(ExitCode::from(FAILED_LIMIT))
        }
    }
}

fn write_page(args: &RunArgs, report: &RecipeReport) -> Result<()> {
    let Some(path) = &args.report else { return Ok(()) };
    write_file(path, render_recipe_html(report).into_bytes(), true)
}

pub(super) fn report(args: &ReportArgs) -> Result<ExitCode> {
    let model = Source::open(&args.model)?;
    let found = match &args.base {
        None => None,
        Some(base) => {
            let models = [Source::open(base)?, model.clone()];
            let total = models.iter().map(Source::stored_bytes).sum();
            let console = Console { quiet: args.quiet };
            Some(metered(&console, Unit::Bytes, total, |meter| diff(&models, args.threads.get(), meter))?)
        }
    };
    write_file(&args.output, render_model_html(&model, found.as_ref()).into_bytes(), args.force)?;
    print(&format!("{}\n", args.output.display()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn cache(args: &CacheArgs) -> Result<ExitCode> {
    let cache = Cache::open(args.cache.cache.as_deref())?;
    let (what, (results, bytes)) = match args.command {
        CacheCommand::Info => (cache.folder.display().to_string(), cache.info()?),
        CacheCommand::Prune { max } => ("taken out".to_owned(), cache.prune(max)?),
    };
    print(&format!("{what}: {}, {}\n", count(results, "result"), human_bytes(bytes)));
    Ok(ExitCode::SUCCESS)
}

/// A cache for one run.
struct Passing(Cache);

impl Passing {
    fn beside(recipe: &std::path::Path) -> Result<Passing> {
        let folder = crate::sink::parent(recipe).join(format!(".tersor-{}", std::process::id()));
        Cache::open(Some(&folder)).map(Passing)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0.folder).map_err(Error::io("remove", &self.0.folder)) {
            eprintln!("warning: {e}");
        }
    }
}
