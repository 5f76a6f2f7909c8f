//! M weights per second on one thread.

use crate::data::{encode, error, importance, weights};
use crate::peer::Ggml;
use crate::support::{Random, cpu, seconds};
use crate::{MODES, Mode};
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use tersor_kernels::{Class, Format, Level};

const ROWS: usize = 64;
const COLUMNS: usize = 2048;
/// Times that each is measured, in turn with the others; the least counts. Slow ones are measured less often, on a part
/// of the rows.
const RUNS: usize = 100;
const SLOW_RUNS: usize = 20;
const SLOW_ROWS: usize = 8;
const SLOW_SECONDS: f64 = 0.005;

/// A line of the table.
struct Line {
    format: &'static str,
    /// `encode plain fast` ... or `decode`.
    what: [&'static str; 3],
    /// M weights per second at each level, weakest first, and ggml's.
    speeds: Vec<f64>,
    ggml: Option<f64>,
    /// Relative RMSE, weighted with the importance where there is one, and ggml's.
    error: Option<f64>,
    ggml_error: Option<f64>,
}

struct Bench {
    values: Vec<f32>,
    importance: Vec<f32>,
    levels: Vec<Level>,
    ggml: Option<Ggml>,
}

pub fn table(formats: &[&'static Format], ggml: Option<Ggml>, save: bool) {
    let mut random = Random(1);
    let (values, importance) = (weights(&mut random, ROWS * COLUMNS), importance(&mut random, COLUMNS));
    let mut bench = Bench { values, importance, levels: Level::available(), ggml };
    if let Some(ggml) = &mut bench.ggml {
        ggml.load(&bench.values, &bench.importance);
    }
    let levels: String = bench.levels.iter().map(|l| format!("{:>8}", l.name())).collect();
    println!("M weights/s, one thread; {ROWS} rows x {COLUMNS}; {}", cpu());
    println!("format   what                  {levels}    ggml   ratio     error  ggml's  ratio");
    println!("memcpy   f32 to f32            {:8.0}", bench.memcpy());
    let mut lines = Vec::new();
    for format in formats {
        for mode in MODES.iter().filter(|m| format.class == Class::Block || **m == MODES[0]) {
            if format.encoder().is_some() {
                lines.push(bench.encode(format, mode));
                println!("{}", lines[lines.len() - 1].text());
            }
        }
        lines.push(bench.decode(format));
        println!("{}", lines[lines.len() - 1].text());
    }
    if save {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/formats.tsv");
        std::fs::write(&path, saved(&lines, &bench.levels)).expect("benches/ can be written");
    }
}

impl Bench {
    /// What copying as many floats takes: no encoder or decoder reads or writes more.
    fn memcpy(&self) -> f64 {
        let mut copy = vec![0f32; self.values.len()];
        let mut least = f64::INFINITY;
        for _ in 0..RUNS {
            least = least.min(seconds(|| copy.copy_from_slice(black_box(&self.values))));
            black_box(&mut copy);
        }
        speed(ROWS, least)
    }

    fn encode(&mut self, format: &'static Format, mode: &Mode) -> Line {
        let (encoder, how) = (format.encoder().expect("an encoder"), mode.encoding(&self.importance));
        let mut bytes = encode(format, &self.values, &how);
        let weights = mode.weighed.then_some(&self.importance[..]);
        let found = error(format, &bytes, &self.values, weights);
        let runs = |at: usize, rows: usize, ggml: &mut Option<Ggml>| match self.levels.get(at) {
            Some(level) => Some(seconds(|| {
                let values = black_box(&self.values[..rows * COLUMNS]);
                let bytes = &mut bytes[..format.bytes * rows * COLUMNS / format.block];
                encoder(*level, values, &how, black_box(bytes)).expect("values that it can hold");
            })),
            None => Some(ggml.as_mut()?.encode(format.ggml?, rows, mode.weighed)),
        };
        let (speeds, ggml) = measure(self.levels.len(), &mut self.ggml, runs);
        let ggml_error = ggml.and(self.ggml.as_mut()).and_then(|ggml| {
            ggml.encode(format.ggml?, ROWS, mode.weighed);
            Some(error(format, &ggml.bytes(), &self.values, weights))
        });
        let (weighed, effort) = mode.names();
        Line { format: format.name, what: ["encode", weighed, effort], speeds, ggml, error: Some(found), ggml_error }
    }

    fn decode(&mut self, format: &'static Format) -> Line {
        let decoder = format.decoder().expect("a decoder");
        let bytes = match format.encoder() {
            Some(_) => encode(format, &self.values, &MODES[0].encoding(&[])),
            // Formats that are only read are plain floats: any bytes will do.
            None => {
                self.values.iter().flat_map(|x| x.to_le_bytes()).cycle().take(format.bytes * ROWS * COLUMNS).collect()
            }
        };
        let mut back = vec![0f32; self.values.len()];
        if let (Some(ggml), Some(id), Some(_)) = (&mut self.ggml, format.ggml, format.encoder()) {
            ggml.encode(id, ROWS, false);
        }
        let runs = |at: usize, rows: usize, ggml: &mut Option<Ggml>| match self.levels.get(at) {
            Some(level) => Some(seconds(|| {
                let bytes = black_box(&bytes[..format.bytes * rows * COLUMNS / format.block]);
                decoder(*level, bytes, black_box(&mut back[..rows * COLUMNS]));
            })),
            None => {
                let (ggml, _, _) = (ggml.as_mut()?, format.ggml?, format.encoder()?);
                Some(ggml.decode(rows))
            }
        };
        let (speeds, ggml) = measure(self.levels.len(), &mut self.ggml, runs);
        Line { format: format.name, what: ["decode", "-", "-"], speeds, ggml, error: None, ggml_error: None }
    }
}

/// The best speed of each level and of ggml, each measured in turn. `run` gives the seconds of one of them (the levels,
/// then ggml) on a number of rows.
fn measure(
    levels: usize,
    ggml: &mut Option<Ggml>,
    mut run: impl FnMut(usize, usize, &mut Option<Ggml>) -> Option<f64>,
) -> (Vec<f64>, Option<f64>) {
    let mut best: Vec<Option<f64>> = Vec::new();
    let mut slow = Vec::new();
    for at in 0..=levels {
        slow.push(run(at, SLOW_ROWS, ggml).is_some_and(|s| s * (ROWS / SLOW_ROWS) as f64 > SLOW_SECONDS));
        best.push(None);
    }
    for turn in 0..RUNS {
        for at in 0..=levels {
            if slow[at] && turn >= SLOW_RUNS {
                continue;
            }
            let rows = if slow[at] { SLOW_ROWS } else { ROWS };
            let found = run(at, rows, ggml).map(|s| speed(rows, s));
            best[at] = best[at].into_iter().chain(found).reduce(f64::max);
        }
    }
    let ggml = best.pop().flatten();
    (best.into_iter().flatten().collect(), ggml)
}

fn speed(rows: usize, seconds: f64) -> f64 {
    (rows * COLUMNS) as f64 / seconds / 1e6
}

/// As many digits as count.
fn digits(speed: f64) -> String {
    if speed < 100.0 { format!("{speed:.1}") } else { format!("{speed:.0}") }
}

impl Line {
    fn text(&self) -> String {
        let [verb, weighed, effort] = self.what;
        let mut text = format!("{:8} {verb} {weighed:10} {effort:4}", self.format);
        for speed in &self.speeds {
            let _ = write!(text, "{:>8}", digits(*speed));
        }
        match (self.ggml, self.speeds.last()) {
            (Some(ggml), Some(ours)) => text += &format!("{:>8} {:7.2}", digits(ggml), ours / ggml),
            _ => text += &" ".repeat(16),
        }
        match (self.error, self.ggml_error) {
            (Some(e), Some(g)) if g > 0.0 => text += &format!("  {e:8.6} {g:8.6} {:6.4}", e / g),
            (Some(e), _) => text += &format!("  {e:8.6}"),
            _ => {}
        }
        text
    }
}

/// The lines as a table separated by tabs, under the CPU's name and the date.
fn saved(lines: &[Line], levels: &[Level]) -> String {
    let date = Command::new("date").arg("+%F").output().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let levels: String = levels.iter().map(|l| format!("{}\t", l.name())).collect();
    let mut text = format!("# {}, {}\n", cpu(), date.unwrap_or_default());
    text += &format!("format\tdoes\timportance\teffort\t{levels}ggml\n");
    for line in lines {
        text += &format!("{}\t{}", line.format, line.what.join("\t"));
        for speed in &line.speeds {
            let _ = write!(text, "\t{}", digits(*speed));
        }
        text += &line.ggml.map_or("\t-\n".to_owned(), |s| format!("\t{}\n", digits(s)));
    }
    text
}
