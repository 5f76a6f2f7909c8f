//! What the targets over files share: a folder in memory, and a whole run over a model in it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tersor::Result;
use tersor::conversion::{Conversion, FILE_TYPES, Target};
use tersor::plan::Container;
use tersor::progress::Silent;
use tersor::writing::{Build, Options};

/// Larger outputs are only planned: their writing has nothing new.
const LARGEST: u64 = 1 << 20;

/// A folder in memory, one per process.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        tempfile::Builder::new().prefix("tersor-fuzz").tempdir_in(parent).expect("a folder in memory").keep()
    })
}

/// Quantize to the default type.
pub fn quantize(model: &Path, dir: &Path) -> Result<()> {
    let file_type = FILE_TYPES.iter().find(|t| t.name == "q4_k_m").expect("the default type");
    let mut recipe = Conversion::new(Container::Gguf, Target::Type(file_type));
    recipe.allow_requantize = true;
    let output = Some(dir.join("out.gguf"));
    let options = Options { output, force: true, threads: Some(1), ..Options::default() };
    let build = Build::prepare(model, &recipe, options)?;
    if build.layout.bytes() <= LARGEST {
        build.write(&Silent)?;
    }
    Ok(())
}
