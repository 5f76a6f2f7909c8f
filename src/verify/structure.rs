//! A second reading of a written GGUF file, from first principles.
//!
//! This shares no code with [`crate::gguf`], on purpose: a mistake that the writer and the reader made together would
//! pass unseen. It holds the file to what ggml's loader checks, and to zeros in every gap.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// ggml's types: number, values and bytes per block.
const TYPES: &[(u32, u64, u64)] = &[
    (0, 1, 4),
    (1, 1, 2),
    (2, 32, 18),
    (3, 32, 20),
    (6, 32, 22),
    (7, 32, 24),
    (8, 32, 34),
    (9, 32, 36),
    (10, 256, 84),
    (11, 256, 110),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
    (15, 256, 292),
    (16, 256, 66),
    (17, 256, 74),
    (18, 256, 98),
    (19, 256, 50),
    (20, 32, 18),
    (21, 256, 110),
    (22, 256, 82),
    (23, 256, 136),
    (24, 1, 1),
    (25, 1, 2),
    (26, 1, 4),
    (27, 1, 8),
    (28, 1, 8),
    (29, 256, 56),
    (30, 1, 2),
    (34, 256, 54),
    (35, 256, 66),
    (39, 32, 17),
    (40, 64, 36),
    (41, 128, 18),
    (42, 64, 18),
];

/// Bytes of a value of each type number; 0 for strings (8), arrays (9) and numbers that are no type.
const VALUE_BYTES: [u64; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const ALIGNMENT: u64 = 32;

struct Walk<R> {
    input: R,
    at: u64,
    len: u64,
}

/// Walk through the file and count its tensors; the error says what is wrong and where.
pub(super) fn check(path: &Path) -> Result<u64, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let len = file.metadata().map_err(|e| e.to_string())?.len();
    let mut walk = Walk { input: BufReader::with_capacity(1 << 16, file), at: 0, len };
    walk.file()
}

impl<R: Read + Seek> Walk<BufReader<R>> {
    fn file(&mut self) -> Result<u64, String> {
        if &self.take::<4>()? != b"GGUF" || self.u32()? != 3 {
            return Err("no GGUF version 3 at the start".into());
        }
        let (tensors, keys) = (self.u64()?, self.u64()?);
        let mut seen = HashSet::new();
        let mut alignment = ALIGNMENT;
        for _ in 0..keys {
            let key = self.string()?;
            let kind = self.u32()?;
            if key == b"general.alignment" {
                alignment = self.u32()?.into();
            } else {
                self.skip_value(kind)?;
            }
            if key.is_empty() || !seen.insert(key) {
                return Err(format!("an empty or second key before byte {}", self.at));
            }
        }
        let mut rows = Vec::new();
        let mut names = HashSet::new();
        for _ in 0..tensors {
            let (name, offset, bytes) = self.row()?;
            if name.is_empty() || name.len() > 63 || !names.insert(name.clone()) {
                return Err(format!("tensor name `{}`", String::from_utf8_lossy(&name)));
            }
            rows.push((name, offset, bytes));
        }
        let start = self.at.next_multiple_of(alignment);
        self.zeros(start)?;
        let mut expected = 0;
        for (name, offset, bytes) in rows {
            let padded = bytes.next_multiple_of(alignment);
            let name = String::from_utf8_lossy(&name);
            if offset != expected {
                return Err(format!("tensor `{name}` at {offset}, expected at {expected}"));
            }
            self.jump(start + offset + bytes).map_err(|e| format!("tensor `{name}`: {e}"))?;
            self.zeros(start + offset + padded)?;
            expected += padded;
        }
        match self.len - self.at {
            0 => Ok(tensors),
            rest => Err(format!("{rest} bytes after the last tensor")),
        }
    }

    /// Name, offset and bytes of a row of the tensor table.
    fn row(&mut self) -> Result<(Vec<u8>, u64, u64), String> {
        let name = self.string()?;
        let rank = self.u32()?;
        if rank > 4 {
            return Err(format!("{rank} dimensions"));
        }
        let mut values = 1u64;
        let (mut fastest, mut empty) = (1, false);
        for d in 0..rank {
            let size = self.u64()?;
            if d == 0 {
                fastest = size;
            }
            values = values.checked_mul(size.max(1)).ok_or("too many values")?;
            empty |= size == 0;
        }
        let kind = self.u32()?;
        let (_, block, bytes) = TYPES.iter().find(|t| t.0 == kind).ok_or_else(|| format!("type {kind}"))?;
        if fastest % block != 0 {
            return Err(format!("rows of {fastest} values in blocks of {block}"));
        }
        let values = if empty { 0 } else { values };
        let bytes = (values / block).checked_mul(*bytes).ok_or("too many bytes")?;
        Ok((name, self.u64()?, bytes))
    }

    fn skip_value(&mut self, kind: u32) -> Result<(), String> {
        match kind {
            STRING => self.skip_string(),
            ARRAY => {
                let (element, count) = (self.u32()?, self.u64()?);
                if element == STRING {
                    (0..count).try_for_each(|_| self.skip_string())
                } else {
                    let bytes = value_bytes(element)?.checked_mul(count).ok_or("too long an array")?;
                    self.jump(self.at.checked_add(bytes).ok_or("too long an array")?)
                }
            }
            _ => self.jump(self.at + value_bytes(kind)?),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|e| format!("at byte {}: {e}", self.at))?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take().map(u64::from_le_bytes)
    }

    fn string_length(&mut self) -> Result<u64, String> {
        match self.u64()? {
            length if length > self.len - self.at => Err(format!("a text of {length} bytes at byte {}", self.at)),
            length => Ok(length),
        }
    }

    fn skip_string(&mut self) -> Result<(), String> {
        let length = self.string_length()?;
        self.jump(self.at + length)
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        let length = self.string_length()?;
        let mut text = vec![0; length as usize];
        self.input.read_exact(&mut text).map_err(|e| e.to_string())?;
        self.at += length;
        Ok(text)
    }

    fn jump(&mut self, to: u64) -> Result<(), String> {
        if to > self.len {
            return Err(format!("its end {to} lies past the file's end {}", self.len));
        }
        match i64::try_from(to - self.at) {
            Ok(by) => self.input.seek_relative(by).map_err(|e| e.to_string())?,
            Err(_) => self.input.seek(SeekFrom::Start(to)).map(|_| ()).map_err(|e| e.to_string())?,
        }
        self.at = to;
        Ok(())
    }

    /// Nothing but zeros up to `end`.
    fn zeros(&mut self, end: u64) -> Result<(), String> {
        while self.at < end {
            let mut some = vec![0; (end - self.at).min(1 << 16) as usize];
            self.input.read_exact(&mut some).map_err(|e| format!("padding at byte {}: {e}", self.at))?;
            if let Some(at) = some.iter().position(|b| *b != 0) {
                return Err(format!("padding byte {} is not zero", self.at + at as u64));
            }
            self.at += some.len() as u64;
        }
        Ok(())
    }
}

fn value_bytes(kind: u32) -> Result<u64, String> {
    match VALUE_BYTES.get(kind as usize) {
        Some(0) | None => Err(format!("value type {kind}")),
        Some(bytes) => Ok(*bytes),
    }
}
