//! Running the built `tersor`, and files to feed it.

// Every test binary compiles this and uses its own part of it.
#![allow(dead_code, unreachable_pub)]

pub mod gguf;
pub mod safetensors;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far more than any command here takes, even unoptimised on a busy machine: reaching it means that it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// What a command left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Expect an exit code; gives back the outcome for further questions.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Expect an error: its message on stderr, nothing on stdout.
    #[track_caller]
    pub fn fails(self, code: i32, message: &str) -> Ran {
        let ran = self.exits(code);
        assert!(ran.err.contains("error: ") && ran.err.contains(message), "no `{message}` in {ran:#?}");
        assert_eq!(ran.out, "", "an error leaves stdout alone");
        ran
    }
}

/// What a command printed as JSON.
#[track_caller]
pub fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:#?}"))
}

/// The path of a fixture.
pub fn fixture(name: &str) -> String {
    format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// An empty folder that goes away.
pub fn empty() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The path of `name` in `folder`, as an argument.
pub fn at(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

/// The command in `folder`, with nothing in its environment that changes what it does.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tersor"));
    command.args(args);
    prepare(&mut command, folder);
    command
}

/// The same, started by a shell that first runs `limits`, such as `ulimit -v 1000000`.
pub fn limited(folder: &Path, limits: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_tersor")]).args(args);
    prepare(&mut command, folder);
    command
}

fn prepare(command: &mut Command, folder: &Path) {
    command.current_dir(folder).stdin(Stdio::null());
    for name in ["TERSOR_LEVEL", "HF_HUB_CACHE", "XDG_CACHE_HOME", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    // What a machine's GPU computes is not what the CPU does, bit by bit.
    command.env("TERSOR_DEVICE", "cpu").env("HF_HOME", folder.join("no-cache"));
}

/// Run to the end.
#[track_caller]
pub fn finish(command: Command) -> Ran {
    finish_while(command, |_| {})
}

/// Run to the end and look at the child again and again.
#[track_caller]
pub fn finish_while(mut command: Command, mut look: impl FnMut(&Child)) -> Ran {
    // Files, because a full pipe would stop the child while nobody reads.
    let logs = empty();
    let (out, err) = (logs.path().join("out"), logs.path().join("err"));
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > HANGS_AFTER {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("hangs: {command:?}");
        }
        look(&child);
        std::thread::sleep(Duration::from_millis(1));
    };
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Ran { code: status.code(), out: read(&out), err: read(&err) }
}

/// `tersor args` in an empty folder.
#[track_caller]
pub fn tersor(args: &[&str]) -> Ran {
    finish(command(empty().path(), args))
}

/// `tersor args` in `folder`.
#[track_caller]
pub fn tersor_in(folder: &TempDir, args: &[&str]) -> Ran {
    finish(command(folder.path(), args))
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let name = |e: std::io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

/// A copy of a folder of files.
pub fn copy_folder(from: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in names(Path::new(from)) {
        fs::copy(Path::new(from).join(&name), to.join(&name)).unwrap();
    }
}

/// Rewrite a JSON object.
pub fn edit_json(path: &Path, edit: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let mut table = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut table);
    fs::write(path, serde_json::to_vec_pretty(&table).unwrap()).unwrap();
}

/// Numbers that look random and are the same every time (xorshift64).
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
