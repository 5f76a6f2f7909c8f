//! A safetensors file in memory, read and written without the library.

use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<u64>,
    pub bytes: Vec<u8>,
}

/// All tensors of a file, by name.
pub fn read(path: impl AsRef<Path>) -> Vec<Tensor> {
    let file = fs::read(path).unwrap();
    let data = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&file[8..data]).unwrap();
    let tensor = |(name, entry): (&String, &Value)| {
        let range: Vec<usize> = serde_json::from_value(entry["data_offsets"].clone()).unwrap();
        Tensor {
            name: name.clone(),
            dtype: entry["dtype"].as_str().unwrap().to_owned(),
            shape: serde_json::from_value(entry["shape"].clone()).unwrap(),
            bytes: file[data + range[0]..data + range[1]].to_vec(),
        }
    };
    let mut tensors: Vec<Tensor> = header.iter().filter(|(name, _)| *name != "__metadata__").map(tensor).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

pub fn write(path: impl AsRef<Path>, tensors: &[Tensor]) {
    let mut header = Map::new();
    let mut at = 0;
    for t in tensors {
        let end = at + t.bytes.len();
        header.insert(t.name.clone(), json!({ "dtype": t.dtype, "shape": t.shape, "data_offsets": [at, end] }));
        at = end;
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(&header);
    tensors.iter().for_each(|t| file.extend(&t.bytes));
    fs::write(path, file).unwrap();
}
