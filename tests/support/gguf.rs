//! A GGUF file in memory: to look at, to change, to write again.

use std::fs::{self, File};
use std::path::Path;
use tersor::gguf::{DEFAULT_ALIGNMENT, Metadata, TensorEntry, encode_header, read_header};
use tersor_kernels::Format;

#[derive(Clone, Debug, PartialEq)]
pub struct Gguf {
    pub metadata: Metadata,
    pub tensors: Vec<Tensor>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    /// Slowest first.
    pub dims: Vec<u64>,
    pub format: &'static str,
    pub bytes: Vec<u8>,
}

impl Tensor {
    fn entry(&self) -> TensorEntry<'_> {
        let format = Format::by_name(self.format).unwrap();
        TensorEntry { name: &self.name, dims: &self.dims, format, bytes: self.bytes.len() as u64 }
    }
}

impl Gguf {
    /// Read with the library's own reader, which `readers.rs` holds against another one.
    pub fn read(path: impl AsRef<Path>) -> Gguf {
        let path = path.as_ref();
        let file = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let header = read_header(path, &file[..], file.len() as u64).unwrap();
        let tensor = |e: &tersor::gguf::Entry| {
            let start = (header.data_start + e.offset) as usize;
            let bytes = file[start..start + e.bytes as usize].to_vec();
            Tensor { name: e.name.clone(), dims: e.dims.clone(), format: e.format.name, bytes }
        };
        Gguf { tensors: header.tensors.iter().map(tensor).collect(), metadata: header.metadata.clone() }
    }

    pub fn encode(&self) -> Vec<u8> {
        let entries: Vec<TensorEntry<'_>> = self.tensors.iter().map(Tensor::entry).collect();
        let (mut file, _) = encode_header(&self.metadata, &entries, DEFAULT_ALIGNMENT);
        for t in &self.tensors {
            file.extend(&t.bytes);
            file.resize(file.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
        }
        file
    }

    pub fn write(&self, path: impl AsRef<Path>) {
        fs::write(path, self.encode()).unwrap();
    }

    #[track_caller]
    pub fn find(&self, name: &str) -> &Tensor {
        self.tensors.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    #[track_caller]
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    /// Name and format of every tensor.
    pub fn formats(&self) -> Vec<(&str, &str)> {
        self.tensors.iter().map(|t| (t.name.as_str(), t.format)).collect()
    }

    /// The keys that start with one of the prefixes.
    pub fn keys(&self, prefixes: &[&str]) -> Vec<(String, tersor::gguf::Value)> {
        let wanted = self.metadata.iter().filter(|(key, _)| prefixes.iter().any(|p| key.starts_with(p)));
        wanted.map(|(key, value)| (key.to_owned(), value.clone())).collect()
    }

    /// Tensors by name.
    pub fn sorted(&self) -> Vec<Tensor> {
        let mut tensors = self.tensors.clone();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }
}

/// A file of one f32 matrix full of zeros that takes no room on the disk.
pub fn write_sparse(path: &Path, rows: u64, cols: u64) {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "sparse");
    let bytes = rows * cols * 4;
    let format = Format::by_name("f32").unwrap();
    let entry = TensorEntry { name: "blk.0.ffn_up.weight", dims: &[rows, cols], format, bytes };
    let (head, _) = encode_header(&metadata, &[entry], DEFAULT_ALIGNMENT);
    fs::write(path, &head).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(head.len() as u64 + bytes.next_multiple_of(DEFAULT_ALIGNMENT)).unwrap();
}
