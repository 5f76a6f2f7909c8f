//! BLAKE3 of what is read: of each tensor, and of all.

use super::piece::Scales;
use std::collections::HashMap;

/// BLAKE3 of tensors' stored bytes, one tensor after another.
#[derive(Default)]
pub(super) struct TensorHashes {
    current: Option<Current>,
    done: HashMap<String, blake3::Hash>,
}

struct Current {
    name: String,
    hasher: blake3::Hasher,
}

impl TensorHashes {
    /// The next bytes of the tensor `name`.
    pub(super) fn update(&mut self, name: &str, bytes: &[u8]) {
        if self.current.as_ref().is_none_or(|current| current.name != name) {
            self.close();
            self.current = Some(Current { name: name.to_owned(), hasher: blake3::Hasher::new() });
        }
        if let Some(Current { hasher, .. }) = &mut self.current {
            hasher.update(bytes);
        }
    }

    /// The hash of a tensor with so many bytes, once all of them were seen.
    pub(super) fn of(&self, name: &str, bytes: u64) -> Option<blake3::Hash> {
        let whole = |current: &&Current| current.name == name && current.hasher.count() == bytes;
        self.done.get(name).copied().or_else(|| Some(self.current.as_ref().filter(whole)?.hasher.finalize()))
    }

    fn close(&mut self) {
        self.done.extend(self.current.take().map(|current| (current.name, current.hasher.finalize())));
    }
}

/// The hash over the sorted (name, hash) of tensors and scales, then of the other files. Each name ends with a zero byte.
pub(super) fn hash_of_all(
    mut tensors: Vec<(String, blake3::Hash)>,
    files: &[(String, blake3::Hash)],
    scales: &Scales,
) -> String {
    tensors.extend(scales.hashes());
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut files = files.to_vec();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let mut all = blake3::Hasher::new();
    for (name, hash) in tensors.iter().chain(&files) {
        all.update(name.as_bytes()).update(&[0]).update(hash.as_bytes());
    }
    all.finalize().to_hex().to_string()
}
