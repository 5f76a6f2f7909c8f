//! A teacher's predictions on disk, for many students: the largest probabilities of each, and what is left.
//!
//! A folder has `cache.json`, which says what the predictions are of, and shards of sequences in safetensors, a tensor of
//! bytes each. A prediction is `k` ids in order, each as the distance from the one before less one (the first as it is) in
//! seven bits a byte, least first, where the eighth says that more follow; then `k` log-probabilities, and that of all other
//! ids together, as u16: nats below zero times 2048, 65535 and less for what is rarer. So they are off by 1/4096 at most, and
//! a divergence from what is kept is no more than that from all, as it is of fewer events.

use super::data::Tokens;
use super::file;
use crate::error::{Error, Result};
use crate::machine::in_parallel;
use crate::model::{Model, Session};
use crate::progress::Progress;
use crate::source::{Source, read_text};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tersor_kernels::{Level, ops};

const INDEX: &str = "cache.json";
/// The fact of a shard with the hash of its data.
const HASH: &str = "tersor.blake3";
/// The fact with what its predictions are of.
const OF: &str = "tersor.logits";
/// Sequences of a shard: what a killed run computes again at most.
const SHARD: usize = 64;
/// Steps of a nat.
const STEPS: f32 = 2048.0;

/// What decides the predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// See [`Source::digest`].
    pub teacher: String,
    /// See [`Tokens::digest`].
    pub texts: String,
    /// Tokens of a sequence.
    pub context: usize,
    /// Sequences.
    pub sequences: usize,
    /// Probabilities that are kept of each prediction.
    pub top_k: usize,
    /// What logits were divided by.
    pub temperature: f32,
    /// Ids that there are.
    pub vocabulary: usize,
    /// The instruction set that the teacher ran with.
    pub level: String,
}

/// One prediction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Top {
    /// Ids, ascending.
    pub ids: Vec<u32>,
    /// Their log-probabilities, then that of all others together.
    pub logarithms: Vec<f32>,
}

/// A folder of predictions.
pub struct Cache {
    /// Of what they are.
    pub of: Predicted,
    path: PathBuf,
    shards: Vec<Source>,
}

impl Cache {
    /// Open `folder` and hold every shard against its hash.
    ///
    /// # Errors
    /// Files that cannot be read, are not whole, or were never finished.
    pub fn open(folder: &Path) -> Result<Cache> {
        let index = folder.join(INDEX);
        let wrong = |e: serde_json::Error| {
            Error::malformed(&index, "the whole file", e.to_string(), "what `tersor logits` writes")
        };
        let of: Predicted = serde_json::from_str(&read_text(&index)?).map_err(wrong)?;
        let shards = (0..of.sequences.div_ceil(SHARD)).map(|n| {
            let path = shard(folder, n);
            let source = Source::open(&path)?;
            if !is_whole(&source, &of)? {
                return Err(Error::malformed(
                    &path,
                    "the whole file",
                    "other bytes than were written",
                    "those of the hash in it",
                ));
            }
            Ok(source)
        });
        Ok(Cache { shards: shards.collect::<Result<_>>()?, path: folder.to_owned(), of })
    }

    /// Predictions of the teacher `digest` on `tokens` at `temperature`, of no more than `vocabulary` ids?
    ///
    /// # Errors
    /// [`Error::Usage`] that names the first thing that differs.
    pub fn check(&self, digest: &str, tokens: &Tokens, temperature: f32, vocabulary: usize) -> Result<()> {
        let sizes = (self.of.context, self.of.sequences) != (tokens.context(), tokens.sequences());
        let differs = [
            ("another teacher", self.of.teacher != digest),
            ("other texts, or another `--ctx`", sizes || self.of.texts != tokens.digest()),
            ("another temperature", self.of.temperature != temperature),
            ("ids that the student does not have", self.of.vocabulary > vocabulary),
        ];
        let Some((what, _)) = differs.iter().find(|(_, differs)| *differs) else { return Ok(()) };
        let Predicted { context, temperature, .. } = self.of;
        let problem = format!("`{}` has the predictions of {what}", self.path.display());
        let hint = format!(
            "it was made with `--ctx {context} --temperature {temperature}`; make one with `tersor logits` for this run"
        );
        Err(Error::Usage { problem, hint })
    }

    /// The predictions after each token of sequence `n`.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what it was.
    pub fn sequence(&self, n: usize) -> Result<Vec<Top>> {
        let source = &self.shards[n / SHARD];
        let bytes = bytes_of(source, n)?;
        let mut rest = &bytes[..];
        let mut rows = Vec::with_capacity(self.of.context);
        while rows.len() < self.of.context {
            rows.push(taken(&mut rest, self.of.top_k, self.of.vocabulary).ok_or_else(|| {
                let found = format!("{} whole predictions", rows.len());
                Error::malformed(&source.path, format!("tensor `{n}`"), found, self.of.context.to_string())
            })?);
        }
        Ok(rows)
    }

    /// Bytes in files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(Source::bytes).sum()
    }
}

/// Write the predictions of `model` on all sequences of `tokens` to `folder`. Shards that are there already are kept where
/// they are whole and of the same. `progress` hears of tokens.
///
/// # Errors
/// Files that cannot be written, predictions that are no numbers, [`Error::Interrupted`].
pub fn write_cache(
    model: &Model,
    tokens: &Tokens,
    of: &Predicted,
    folder: &Path,
    level: Level,
    threads: usize,
    progress: &dyn Progress,
) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut session = Session::new(model, of.context)?;
    for first in (0..of.sequences).step_by(SHARD) {
        let path = shard(folder, first / SHARD);
        let range = first..of.sequences.min(first + SHARD);
        let count = (range.len() * of.context) as u64;
        if path.is_file() && Source::open(&path).is_ok_and(|source| is_whole(&source, of).unwrap_or(false)) {
            progress.advance(count);
            continue;
        }
        let mut sequences = Vec::new();
        for n in range.clone() {
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            session.rewind(0);
            session.forward(tokens.fixed(n).0)?;
            sequences.push(predictions(model, &mut session, of, level, threads)?);
            progress.advance(of.context as u64);
        }
        let mut hasher = blake3::Hasher::new();
        sequences.iter().for_each(|bytes| _ = hasher.update(bytes));
        let facts = json!({ OF: described(of), HASH: hasher.finalize().to_hex().to_string() });
        let shapes: Vec<[usize; 1]> = sequences.iter().map(|bytes| [bytes.len()]).collect();
        let named = range.zip(shapes.iter().zip(&sequences));
        let tensors: Vec<_> = named.map(|(n, (shape, bytes))| (n.to_string(), &shape[..], &bytes[..])).collect();
        file::write(&path, facts, &tensors)?;
    }
    let path = folder.join(INDEX);
    fs::write(&path, described(of) + "\n").map_err(Error::io("write", &path))
}

fn described(of: &Predicted) -> String {
    serde_json::to_string(of).expect("numbers and texts always print")
}

fn shard(folder: &Path, n: usize) -> PathBuf {
    folder.join(format!("logits-{n:05}.safetensors"))
}

/// Its data have the hash in it, and are of `of`.
fn is_whole(source: &Source, of: &Predicted) -> Result<bool> {
    if source.fact(OF) != Some(&described(of)) {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    let mut numbers: Vec<usize> = source.tensors().iter().filter_map(|t| t.name.parse().ok()).collect();
    numbers.sort_unstable();
    for n in numbers {
        hasher.update(&bytes_of(source, n)?);
    }
    Ok(source.fact(HASH) == Some(hasher.finalize().to_hex().as_str()))
}

fn bytes_of(source: &Source, n: usize) -> Result<Vec<u8>> {
    let name = n.to_string();
    let id = source.find(&name).ok_or(Error::MissingTensors { names: vec![name] })?;
    let mut bytes = vec![0; source.tensor(id).bytes as usize];
    source.read(id, 0, &mut bytes)?;
    Ok(bytes)
}

/// Rows of logits that are in memory at a time.
const ROWS: usize = 128;

/// The predictions after hidden states, packed.
fn predictions(
    model: &Model,
    session: &mut Session<'_>,
    of: &Predicted,
    level: Level,
    threads: usize,
) -> Result<Vec<u8>> {
    let (mut logits, mut bytes) = (Vec::new(), Vec::new());
    for first in (0..of.context).step_by(ROWS) {
        let rows = first..of.context.min(first + ROWS);
        session.logits(rows.clone(), &mut logits)?;
        let row = |n: usize| {
            let row = &logits[n * model.vocabulary()..][..of.vocabulary];
            Ok(packed(&Top::of(level, row, of.top_k, of.temperature)))
        };
        bytes.extend(in_parallel(threads, rows.len(), row)?.concat());
    }
    Ok(bytes)
}

impl Top {
    /// The `k` largest of `logits` over `temperature`; of equal ones the first.
    pub fn of(level: Level, logits: &[f32], k: usize, temperature: f32) -> Top {
        let scale = 1.0 / temperature;
        let mut values = logits.to_vec();
        let log_sum = ops::softmax(level, &mut values, scale);
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        let k = k.min(ids.len());
        if k < ids.len() {
            let larger = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
            ids.select_nth_unstable_by(k, larger);
        }
        let rest: f64 = ids[k..].iter().map(|id| f64::from(values[*id as usize])).sum();
        ids.truncate(k);
        ids.sort_unstable();
        let kept = ids.iter().map(|id| (f64::from(logits[*id as usize] * scale) - log_sum) as f32);
        let logarithms = kept.chain([(rest.ln() as f32).max(LEAST)]).map(|l| -f32::from(steps(l)) / STEPS).collect();
        Top { ids, logarithms }
    }
}

/// What stands for all that is rarer.
const LEAST: f32 = -65535.0 / STEPS;

fn steps(logarithm: f32) -> u16 {
    (-logarithm * STEPS).round().clamp(0.0, 65535.0) as u16
}

fn packed(top: &Top) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut next = 0;
    for id in &top.ids {
        let mut distance = id - next;
        while distance >= 0x80 {
            bytes.push(distance as u8 | 0x80);
            distance >>= 7;
        }
        bytes.push(distance as u8);
        next = id + 1;
    }
    top.logarithms.iter().for_each(|l| bytes.extend(steps(*l).to_le_bytes()));
    bytes
}

/// A prediction off `bytes`; `None` where there is no whole one.
fn taken(bytes: &mut &[u8], k: usize, vocabulary: usize) -> Option<Top> {
    let mut top = Top::default();
    let mut next = 0u64;
    let k = k.min(vocabulary);
    for _ in 0..k {
        let (mut distance, mut shift) = (0u64, 0);
        loop {
            let byte = *bytes.split_off_first()?;
            distance |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
            if shift > 28 {
                return None;
            }
        }
        let id = next + distance;
        top.ids.push(u32::try_from(id).ok().filter(|_| id < vocabulary as u64)?);
        next = id + 1;
    }
    let numbers = bytes.split_off(..2 * (k + 1))?;
    top.logarithms = numbers.as_chunks::<2>().0.iter().map(|b| -f32::from(u16::from_le_bytes(*b)) / STEPS).collect();
    Some(top)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Count;
    use crate::distill::loss::{Divergence, Loss, Taught};
    use crate::model::{Session, Weights};
    use crate::progress::Silent;

    #[test]
    fn predictions_come_back() {
        let logits: Vec<f32> = (0..3000).map(|n| ((n * n) as f32 * 0.37).sin() * 9.0).collect();
        for (k, temperature) in [(2, 1.0), (64, 1.0), (64, 2.0), (3000, 1.0)] {
            let top = Top::of(Level::best(), &logits, k, temperature);
            let least = top.ids.iter().map(|id| logits[*id as usize]).fold(f32::MAX, f32::min);
            let beyond = (0..3000).filter(|id| !top.ids.contains(id) && logits[*id as usize] > least).count();
            assert_eq!((top.ids.len(), beyond), (k, 0));
            let sum: f32 = top.logarithms.iter().map(|l| l.exp()).sum();
            assert!((sum - 1.0).abs() < 1.0 / 2048.0, "{sum}");
            let bytes = packed(&top);
            let mut rest = &bytes[..];
            assert_eq!(taken(&mut rest, k, 3000), Some(top));
            assert!(rest.is_empty());
            assert_eq!(taken(&mut &bytes[..bytes.len() - 1], k, 3000), None);
        }
        assert_eq!(taken(&mut &[0xff; 80][..], 1, 3000), None);
        // An id that the vocabulary does not have.
        assert!(taken(&mut &[9, 0, 0, 0, 0][..], 1, 10).is_some() && taken(&mut &[9, 0, 0, 0, 0][..], 1, 9).is_none());
    }

    /// Sums over the predictions of one context: the divergence of a model without its last block but one from the whole
    /// one, and the same from what is kept of the whole one's predictions.
    fn divergences(source: Source, text: &Path, k: usize) -> [f64; 2] {
        let level = Level::best();
        let settings = crate::prune::Settings { level, threads: 2, progress: &Silent };
        let last = source.settings().unwrap()[Count::Layers] as usize - 1;
        let method = crate::prune::Method::Drop([last - 1].into());
        let cut = crate::prune::prune(source.clone(), &method, &settings).unwrap().source;
        let text = crate::windows::Text { path: text, context: 256, chunks: Some(1) };
        let windows = crate::windows::Windows::cut(&source, &text).unwrap();
        let [whole, cut] = [source, cut].map(|source| {
            let model = Model::load(source, Weights::AsStored, level, 2, &Silent).unwrap();
            let mut session = Session::new(&model, 256).unwrap();
            session.forward(windows.iter().next().unwrap()).unwrap();
            let mut logits = Vec::new();
            session.logits(0..256, &mut logits).unwrap();
            (model.vocabulary(), logits)
        });
        let loss = Loss { divergence: Divergence::Forward, temperature: 1.0, cross_entropy: 0.0 };
        let rows = whole.1.chunks_exact(whole.0).zip(cut.1.chunks_exact(cut.0));
        let sums = rows.map(|(whole, cut)| {
            let kept = taken(&mut &packed(&Top::of(level, whole, k, 1.0))[..], k, whole.len()).unwrap();
            [Taught::Logits(whole), Taught::Top(&kept)]
                .map(|taught| loss.turn(level, &mut cut.to_vec(), Some(taught), None, 1.0).total)
        });
        sums.fold([0.0; 2], |sum, row| [sum[0] + row[0], sum[1] + row[1]])
    }

    #[test]
    #[allow(clippy::print_stdout)]
    fn kept_predictions_have_most_of_the_divergence() {
        let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        let text = fixture("text/heldout.txt");
        let tiny = Source::open(&fixture("tiny-llama")).unwrap();
        let models = std::env::var_os("TERSOR_MODELS");
        let real = models.map(|models| Source::open(&Path::new(&models).join("smollm2-135m")).unwrap());
        if real.is_none() {
            println!("skipped: SmolLM2; set TERSOR_MODELS to a folder with smollm2-135m (see tests/interop)");
        }
        for (source, least) in [(Some(tiny), 0.9), (real, 0.85)] {
            let Some(source) = source else { continue };
            let name = source.name.clone();
            let [whole, kept] = divergences(source, &text, 64);
            println!("{name}: {:.4} of a divergence of {:.4}", kept / whole, whole / 256.0);
            assert!(kept <= whole * 1.001 && kept >= whole * least, "{name}: {kept} of {whole}");
        }
    }
}
