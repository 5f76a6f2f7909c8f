//! The emulator of `cuda/host`, built once for each kind of check.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// What is built of the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// A program that sees reads and writes of several threads that nothing orders, besides wrong barriers.
    Races,
    /// One that sees accesses outside of buffers, and what C++ leaves undefined.
    Bounds,
    /// A library in the place of the driver's.
    Driver,
}

impl Build {
    fn product(self) -> &'static str {
        if self == Build::Driver { "libcuda.so.1" } else { "emulator" }
    }

    /// The file that it has of its own.
    fn main(self) -> &'static str {
        if self == Build::Driver { "driver.cpp" } else { "main.cpp" }
    }

    /// Options for all files, and for kernels and linking.
    fn options(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Build::Races => (&["-DEMULATOR_RACES", "-no-pie", "-fno-pie"], &["-fsanitize=thread"]),
            Build::Bounds => (&["-DEMULATOR_BOUNDS"], &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]),
            Build::Driver => (&["-fPIC", "-fvisibility=hidden"], &["-shared"]),
        }
    }
}

/// Where a build of the sources in the folder `cuda` is, made if it is not there; or why it cannot be.
pub(crate) fn built(build: Build, cuda: &Path) -> Result<PathBuf, String> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let host = cuda.join("host");
    let mut sources: Vec<PathBuf> = [cuda, &host]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|e| ["cu", "cuh", "h", "cpp"].iter().any(|known| e == *known)))
        .collect();
    sources.sort();
    let (all, kernels) = build.options();
    let mut hasher = DefaultHasher::new();
    sources.iter().for_each(|path| fs::read(path).unwrap().hash(&mut hasher));
    (all, kernels).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cuda-{build:?}-{:x}", hasher.finish()));
    let product = folder.join(build.product());
    if product.exists() {
        return Ok(product);
    }
    fs::create_dir_all(&folder).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let compile = |source: &Path, more: &[&str]| -> Result<PathBuf, String> {
        let object = folder.join(source.file_name().unwrap()).with_extension("o");
        let mut command = Command::new(&compiler);
        command.args(["-std=c++17", "-O1", "-g", "-DEMULATOR", "-ffp-contract=off", "-fno-omit-frame-pointer", "-I"]);
        command.arg(cuda).args(all).args(more).args(["-x", "c++", "-c"]).arg(source).arg("-o").arg(&object);
        run(&mut command).map(|()| object)
    };
    let mut objects = Vec::new();
    for source in &sources {
        let name = source.file_name().unwrap();
        match source.extension().and_then(|e| e.to_str()) {
            Some("cu") => objects.push(compile(source, kernels)?),
            Some("cpp") if name == "emulator.cpp" || name == build.main() => objects.push(compile(source, &[])?),
            _ => {}
        }
    }
    let partial = folder.join(format!("partial-{}", std::process::id()));
    run(Command::new(&compiler).args(all).args(kernels).args(objects).arg("-o").arg(&partial))?;
    fs::rename(partial, &product).unwrap();
    Ok(product)
}

/// A compiler that is not there is a reason to skip, one that fails is a failure.
fn run(command: &mut Command) -> Result<(), String> {
    let Ok(done) = command.output() else {
        return Err(format!("{} is not there: install a C++ compiler, or set CXX", command.get_program().display()));
    };
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
