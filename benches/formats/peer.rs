//! ggml beside tersor: `benches/ggml.py` in a process of its own, asked line by line.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

pub struct Ggml {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Ggml {
    /// `None`, and a word about it, without an interpreter that has the library.
    pub fn start() -> Option<Ggml> {
        let Some(python) = std::env::var_os("TERSOR_PYTHON") else {
            println!("without ggml: set TERSOR_PYTHON to an interpreter with llama-cpp-python");
            return None;
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(python);
        command.arg(root.join("benches/ggml.py")).current_dir(root).stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = command.spawn().ok().and_then(|mut process| {
            let (input, output) = (process.stdin.take()?, BufReader::new(process.stdout.take()?));
            let mut ggml = Ggml { process, input, output, folder: TempDir::new().ok()? };
            (ggml.answer()? == "ready").then_some(ggml)
        });
        if started.is_none() {
            println!("without ggml: TERSOR_PYTHON cannot run benches/ggml.py; does it have llama-cpp-python?");
        }
        started
    }

    fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    fn ask(&mut self, request: &[&str]) -> String {
        writeln!(self.input, "{}", request.join("\t")).expect("ggml listens");
        self.answer().unwrap_or_else(|| panic!("ggml gave no answer to {request:?}"))
    }

    fn seconds(&mut self, request: &[&str]) -> f64 {
        self.ask(request).parse().expect("seconds")
    }

    fn file(&self, name: &str, values: &[f32]) -> String {
        let path = self.folder.path().join(name);
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        fs::write(&path, bytes).expect("room for a temporary file");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// The values that the following requests are about, and one weight per column.
    pub fn load(&mut self, values: &[f32], importance: &[f32]) {
        let (values, weights) = (self.file("values", values), self.file("importance", importance));
        self.ask(&["load", &values, &importance.len().to_string(), &weights]);
    }

    /// Thread seconds to encode the first `rows` rows to a GGUF type.
    pub fn encode(&mut self, ggml: u32, rows: usize, weighed: bool) -> f64 {
        self.seconds(&["encode", &ggml.to_string(), &rows.to_string(), if weighed { "1" } else { "0" }])
    }

    /// Thread seconds to decode the first `rows` rows of what was encoded last.
    pub fn decode(&mut self, rows: usize) -> f64 {
        self.seconds(&["decode", &rows.to_string()])
    }

    /// What was encoded last.
    pub fn bytes(&mut self) -> Vec<u8> {
        let path = self.folder.path().join("bytes");
        self.ask(&["save", path.to_str().expect("a path in UTF-8")]);
        fs::read(path).expect("the bytes")
    }
}

impl Drop for Ggml {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
