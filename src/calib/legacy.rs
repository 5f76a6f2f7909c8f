//! llama.cpp's former importance matrix: little-endian i32 n, then n times a name (i32 length, text), i32 calls, i32 number
//! of values, f32 values; then i32 chunks, and the name of the text. The values are means times the calls.

use super::{Entry, Statistics};
use crate::error::{Error, Result};
use std::path::Path;

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

/// Tokens of a context, which the file does not tell: llama.cpp's default.
const CONTEXT: u32 = 512;

pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Statistics> {
    let mut r = Reader { path, bytes, at: 0 };
    let mut statistics = Statistics { context: CONTEXT, ..Statistics::default() };
    let count = r.number("number of entries")?;
    for _ in 0..count {
        let name = r.text("name")?;
        let calls = r.number("calls")?;
        let values = r.number("number of values")?;
        let bytes = r.take("values", values.checked_mul(4))?;
        let means = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        // Each call was a context, whose tokens the file has averaged over.
        let entry = Entry { squares: means.collect(), counts: vec![calls.max(1) as f32] };
        if statistics.entries.insert(name.clone(), entry).is_some() {
            return Err(r.wrong("name", format!("a second `{name}`"), "unique names"));
        }
    }
    if statistics.entries.is_empty() {
        return Err(r.wrong("number of entries", count.to_string(), "an importance matrix"));
    }
    if r.at < r.bytes.len() {
        statistics.chunks = r.number("chunks")? as u32;
        statistics.datasets.push(r.text("name of the text")?);
    }
    Ok(statistics)
}

impl<'a> Reader<'a> {
    fn wrong(&self, place: &str, found: String, wanted: &str) -> Error {
        Error::malformed(self.path, format!("{place} at byte {}", self.at), found, wanted)
    }

    fn take(&mut self, place: &str, count: Option<usize>) -> Result<&'a [u8]> {
        let left = self.bytes.len() - self.at;
        match count.filter(|count| *count <= left) {
            Some(count) => {
                self.at += count;
                Ok(&self.bytes[self.at - count..self.at])
            }
            None => Err(self.wrong(place, format!("{left} bytes"), "an importance matrix, which has more")),
        }
    }

    fn number(&mut self, place: &str) -> Result<usize> {
        let bytes = self.take(place, Some(4))?;
        let number = i32::from_le_bytes(bytes.try_into().unwrap_or_default());
        usize::try_from(number).map_err(|_| self.wrong(place, number.to_string(), "a number that is not negative"))
    }

    fn text(&mut self, place: &str) -> Result<String> {
        let length = self.number(place)?;
        let bytes = self.take(place, Some(length))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.wrong(place, "bytes that are not UTF-8".into(), "text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let number = |n: i32| n.to_le_bytes().to_vec();
        let name = b"blk.0.attn_q.weight";
        let values = [3.0f32, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let parts = [number(1), number(name.len() as i32), name.to_vec(), number(3), number(2), values];
        [parts.concat(), number(3), number(5), b"a.txt".to_vec()].concat()
    }

    #[test]
    fn means_are_what_was_stored_over_the_calls() {
        let found = parse(Path::new("x"), &file()).unwrap();
        assert_eq!(found.importance("blk.0.attn_q.weight").unwrap().0, [1.0, 2.0]);
        assert_eq!((found.chunks, found.datasets), (3, vec!["a.txt".to_owned()]));
    }

    #[test]
    fn whatever_is_cut_off_is_an_error() {
        let whole = file();
        let end_of_entries = whole.len() - 4 - 4 - 5;
        for cut in (0..whole.len()).filter(|cut| *cut != end_of_entries) {
            assert!(parse(Path::new("x"), &whole[..cut]).is_err(), "{cut} bytes");
        }
        for bad in [&[0xff; 64][..], b"not an importance matrix"] {
            assert!(parse(Path::new("x"), bad).is_err());
        }
    }
}
