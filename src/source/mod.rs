//! Checkpoints to read: headers at once, tensor bytes by positioned reads on demand.
//!
//! What a path holds is decided by content, never by its extension.

mod bitmask;
mod derived;
mod gguf;
mod hub;
mod safetensors;
mod settings;
mod shards;

pub(crate) use bitmask::describes as describes_bitmask;
pub use bitmask::packed as packed_as_bitmask;
use derived::Given;
pub use derived::{Content, Derive, given};
pub use settings::ROPE_FREQS;

use crate::error::{Error, Result};
use crate::gguf::{MAGIC, Metadata};
use crate::tensor::{TensorId, TensorInfo};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was pruned and how, as the writer left it in the file.
pub const PRUNED: &str = "tersor.prune";

/// What was learnt and from whom, likewise.
pub const LEARNT: &str = "tersor.distill";

/// The recipe that a file was made by, likewise; what is made of that file has its own.
pub const BUILT: &str = "tersor.build";

/// What files hand on to those that are made of them.
pub const HISTORY: [&str; 2] = [PRUNED, LEARNT];

/// Bytes that are hashed at a time, unless a row is longer.
const DIGESTED: u64 = 1 << 20;

/// An opened checkpoint, or what a pass makes of one.
#[derive(Clone, Debug)]
pub struct Source {
    /// What the user's path was found to mean.
    pub path: PathBuf,
    /// A short name: the folder's or file's.
    pub name: String,
    /// Where its facts come from.
    pub origin: Origin,
    files: Arc<Vec<DataFile>>,
    tensors: Vec<TensorInfo>,
    places: Vec<Place>,
    by_name: HashMap<String, TensorId>,
    facts: HashMap<String, String>,
    /// See [`Source::is_derived`].
    derived: bool,
    /// See [`Source::stored_bytes`].
    stored_bytes: u64,
}

/// What stands beside the tensors.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A folder with config.json.
    HuggingFace {
        /// The folder.
        folder: PathBuf,
        /// config.json.
        config: Map<String, Value>,
    },
    /// A GGUF file or a set of splits.
    Gguf {
        /// Keys of the first file, without those of the split.
        metadata: Metadata,
    },
    /// A safetensors file with no config.json beside it.
    Bare,
}

#[derive(Debug)]
struct DataFile {
    path: PathBuf,
    file: File,
    len: u64,
}

/// Where a tensor's bytes come from.
#[derive(Clone, Debug)]
enum Place {
    File { number: usize, offset: u64 },
    Derived(Arc<dyn Derive>),
}

/// The tensors of one file, as its header lists them.
struct Table {
    /// `__metadata__` of a safetensors file.
    facts: HashMap<String, String>,
    tensors: Vec<(TensorInfo, u64)>,
}

impl Source {
    /// Open a Hugging Face folder, a safetensors file, a GGUF file, or `org/name[@revision]` from the local cache.
    ///
    /// # Errors
    /// [`Error::NotAModel`], [`Error::NotCached`], or [`Error::Malformed`] with the place in the file.
    ///
    /// ```
    /// let source = tersor::source::Source::open("fixtures/tiny-llama".as_ref())?;
    /// let embedding = source.tensor(source.find("model.embed_tokens.weight").unwrap());
    /// assert_eq!((embedding.shape.rank(), embedding.format.name), (2, "bf16"));
    /// # Ok::<(), tersor::Error>(())
    /// ```
    pub fn open(path: &Path) -> Result<Source> {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => shards::open_folder(path),
            Ok(_) => Source::open_file(path),
            Err(e) => match hub::repository(path) {
                Some(repo) => {
                    let mut source = shards::open_folder(&repo.snapshot()?)?;
                    source.name = repo.name.clone();
                    Ok(source)
                }
                None => Err(Error::io("open", path)(e)),
            },
        }
    }

    /// What stands beside `config`, a config.json, without any weights.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn without_weights(config: &Path) -> Result<Source> {
        let folder = config.parent().unwrap_or(Path::new(".")).to_owned();
        let origin = Origin::HuggingFace { config: read_json_object(config)?, folder: folder.clone() };
        Source::assemble(folder, origin, Vec::new())
    }

    /// A hash of all tensors: their names, shapes and stored bytes.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn digest(&self) -> Result<String> {
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), Vec::new());
        for (n, tensor) in self.tensors.iter().enumerate() {
            hasher.update(format!("{} {} {}\n", tensor.name, tensor.format.name, tensor.shape).as_bytes());
            let row = (tensor.bytes / tensor.shape.rows().max(1)).max(1);
            let step = (DIGESTED / row).max(1) * row;
            for start in (0..tensor.bytes).step_by(step as usize) {
                bytes.resize(step.min(tensor.bytes - start) as usize, 0);
                self.read(TensorId(n), start, &mut bytes)?;
                hasher.update(&bytes);
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// [`Source::open`] of a Hugging Face folder, with sparse matrices as the tensors that they are stored in.
    ///
    /// # Errors
    /// Those of [`Source::open`].
    pub fn open_as_stored(folder: &Path) -> Result<Source> {
        shards::open_as_stored(folder)
    }

    fn open_file(path: &Path) -> Result<Source> {
        let mut magic = Vec::new();
        let (file, _) = open_regular(path)?;
        file.take(9).read_to_end(&mut magic).map_err(Error::io("read", path))?;
        if magic.starts_with(&MAGIC) {
            return gguf::open(path);
        }
        // A safetensors file begins with the length of its header and the header's brace.
        if magic.len() == 9 && magic[8] == b'{' || path.extension().is_some_and(|e| e == "safetensors") {
            return shards::open_file(path);
        }
        let wrong_gguf = path.extension().is_some_and(|e| e == "gguf");
        if wrong_gguf {
            let found = if magic.is_empty() {
                "an empty file".into()
            } else {
                format!("{:?}", String::from_utf8_lossy(&magic[..magic.len().min(4)]))
            };
            return Err(Error::malformed(path, "magic", found, "`GGUF`"));
        }
        Err(Error::NotAModel { path: path.to_owned(), found: format!("a file that starts with {magic:02x?}") })
    }

    fn assemble(path: PathBuf, origin: Origin, files: Vec<(DataFile, Table)>) -> Result<Source> {
        let name = readable_name(&path);
        let mut source = Source {
            path,
            name,
            origin,
            files: Arc::default(),
            tensors: Vec::new(),
            places: Vec::new(),
            by_name: HashMap::new(),
            facts: HashMap::new(),
            derived: false,
            stored_bytes: 0,
        };
        let mut opened = Vec::new();
        for (file, table) in files {
            let number = opened.len();
            if number == 0 {
                source.facts = table.facts;
            }
            for (tensor, offset) in table.tensors {
                let id = TensorId(source.tensors.len());
                if source.by_name.insert(tensor.name.clone(), id).is_some() {
                    let place = format!("tensor `{}`", tensor.name);
                    return Err(Error::malformed(&file.path, place, "a second one", "unique names"));
                }
                source.stored_bytes += tensor.bytes;
                source.tensors.push(tensor);
                source.places.push(Place::File { number, offset });
            }
            opened.push(file);
        }
        source.files = Arc::new(opened);
        Ok(source)
    }

    /// Headers of all tensors; [`TensorId`] indexes this slice.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Header of one tensor.
    pub fn tensor(&self, id: TensorId) -> &TensorInfo {
        &self.tensors[id.0]
    }

    /// The tensor with this name.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.by_name.get(name).copied()
    }

    /// A text that the writer left in the first file: a GGUF key, or an entry of safetensors' `__metadata__`.
    pub fn fact(&self, key: &str) -> Option<&str> {
        match &self.origin {
            Origin::Gguf { metadata } => metadata.text(key),
            _ => self.facts.get(key).map(String::as_str),
        }
    }

    /// Fill `buffer` with the tensor's stored bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::Io`], also when the file became shorter since it was opened.
    pub fn read(&self, id: TensorId, offset: u64, buffer: &mut [u8]) -> Result<()> {
        debug_assert!(offset + buffer.len() as u64 <= self.tensors[id.0].bytes);
        match &self.places[id.0] {
            Place::File { number, offset: start } => {
                let file = &self.files[*number];
                file.file.read_exact_at(buffer, start + offset).map_err(Error::io("read", &file.path))
            }
            Place::Derived(derive) => derive.read(offset, buffer),
        }
    }

    /// Bytes of the tensors in the files, whatever a pass leaves of them.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Bytes of all data files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.len).sum()
    }

    /// The data files.
    pub fn data_files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|f| f.path.as_path())
    }

    /// config.json of a Hugging Face folder, for messages.
    pub fn config_path(&self) -> PathBuf {
        match &self.origin {
            Origin::HuggingFace { folder, .. } => folder.join("config.json"),
            _ => self.path.clone(),
        }
    }
}

impl DataFile {
    fn open(path: &Path) -> Result<DataFile> {
        let (file, len) = open_regular(path)?;
        Ok(DataFile { path: path.to_owned(), file, len })
    }
}

/// The last component of the real path, so that `.` has a name too, without the ending of a model file.
fn readable_name(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let keep_dots = real.is_dir();
    let name = if keep_dots { real.file_name() } else { real.file_stem() };
    name.map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned())
}

/// True for the files that stand in a model's folder beside its weights: tokenizer, templates, processors, code, card.
pub(crate) fn is_companion(path: &Path) -> bool {
    const ENDINGS: &[&str] = &["json", "jinja", "model", "txt", "md", "py"];
    let usual = path.extension().is_some_and(|e| ENDINGS.iter().any(|known| e == *known));
    path.is_file() && (usual || path.file_name().is_some_and(|n| n == "LICENSE"))
}

/// Open a file that has an end: a pipe or a device would be read forever.
fn open_regular(path: &Path) -> Result<(File, u64)> {
    let regular = std::fs::metadata(path).map_err(Error::io("open", path))?.is_file();
    if !regular {
        return Err(Error::malformed(path, "kind of file", "a folder, pipe or device", "a regular file"));
    }
    let file = File::open(path).map_err(Error::io("open", path))?;
    let len = file.metadata().map_err(Error::io("read", path))?.len();
    Ok((file, len))
}

/// Read a file of a model folder, other than its weights, whole; refuses absurd sizes before it allocates.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    const LIMIT: u64 = 1 << 28;
    let (file, len) = open_regular(path)?;
    if len > LIMIT {
        return Err(Error::malformed(path, "size", format!("{len} bytes"), format!("at most {LIMIT}")));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(LIMIT).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// [`read_bytes`] of text.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|e| {
        let place = format!("byte {}", e.utf8_error().valid_up_to());
        Error::malformed(path, place, "bytes that are not UTF-8", "text")
    })
}

/// Read a JSON file whose top is an object.
pub(crate) fn read_json_object(path: &Path) -> Result<Map<String, Value>> {
    serde_json::from_str(&read_text(path)?).map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        Error::malformed(path, place, found_in_json(&e), "a JSON object")
    })
}

/// What serde_json stumbled over, without the position, which the place says already.
fn found_in_json(e: &serde_json::Error) -> String {
    let text = e.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match e.classify() {
        serde_json::error::Category::Eof => "the end of the file".to_owned(),
        serde_json::error::Category::Syntax => format!("no JSON ({text})"),
        _ => text.to_owned(),
    }
}
