//! File types: llama-quantize's names for a base format with exceptions, which stand in [`super::MIX`].

use crate::arch::Role;
use crate::error::{Error, Result};
use tersor_kernels::{FORMATS, Format};

/// A row of [`FILE_TYPES`].
pub struct FileType {
    /// The name on the command line, lower case.
    pub name: &'static str,
    /// A shorter name for the same.
    pub alias: Option<&'static str>,
    /// `general.file_type`, as in llama.cpp's `LLAMA_FTYPE`.
    pub id: u32,
    /// Format of weight matrices.
    pub base: &'static str,
    /// The type that takes its place where there is no importance matrix, which the base of this one needs in all
    /// tensors but embedding and output.
    pub without_imatrix: Option<&'static str>,
}

const fn row(name: &'static str, id: u32, base: &'static str) -> FileType {
    FileType { name, alias: None, id, base, without_imatrix: None }
}

const fn aliased(name: &'static str, alias: &'static str, id: u32, base: &'static str) -> FileType {
    FileType { alias: Some(alias), ..row(name, id, base) }
}

/// Every file type: those of llama-quantize, and two of tersor for dense models in 4-bit floats. `mxfp4` has no number
/// of its own in llama.cpp; its readers go by the tensors.
pub static FILE_TYPES: &[FileType] = &[
    row("f32", 0, "f32"),
    row("f16", 1, "f16"),
    row("bf16", 32, "bf16"),
    row("q8_0", 7, "q8_0"),
    row("q6_k", 18, "q6_k"),
    aliased("q5_k_m", "q5_k", 17, "q5_k"),
    row("q5_k_s", 16, "q5_k"),
    row("q5_1", 9, "q5_1"),
    row("q5_0", 8, "q5_0"),
    aliased("q4_k_m", "q4_k", 15, "q4_k"),
    row("q4_k_s", 14, "q4_k"),
    row("q4_1", 3, "q4_1"),
    row("q4_0", 2, "q4_0"),
    row("iq4_nl", 25, "iq4_nl"),
    row("iq4_xs", 30, "iq4_xs"),
    row("q3_k_l", 13, "q3_k"),
    aliased("q3_k_m", "q3_k", 12, "q3_k"),
    row("q3_k_s", 11, "q3_k"),
    row("q2_k", 10, "q2_k"),
    FileType { without_imatrix: Some("q2_k"), ..row("q2_k_s", 21, "q2_k") },
    row("tq2_0", 37, "tq2_0"),
    row("tq1_0", 36, "tq1_0"),
    row("mxfp4_moe", 38, "mxfp4"),
    row("mxfp4", 38, "mxfp4"),
    row("nvfp4", 39, "nvfp4"),
];

/// A name of llama.cpp's that tersor does not write, and the nearest that it does.
struct Unsupported {
    name: &'static str,
    /// Where it names a file type.
    file_type: Option<&'static str>,
    /// Where it names a format.
    format: Option<&'static str>,
}

const fn unsupported(name: &'static str, file_type: &'static str, format: &'static str) -> Unsupported {
    Unsupported { name, file_type: Some(file_type), format: Some(format) }
}

const fn only_type(name: &'static str, file_type: &'static str) -> Unsupported {
    Unsupported { name, file_type: Some(file_type), format: None }
}

const fn only_format(name: &'static str, format: &'static str) -> Unsupported {
    Unsupported { name, file_type: None, format: Some(format) }
}

/// Nearest by bits per weight; those made for ternary models only for one another.
const UNSUPPORTED: &[Unsupported] = &[
    unsupported("iq1_s", "q2_k", "q2_k"),
    unsupported("iq1_m", "q2_k", "q2_k"),
    unsupported("iq2_xxs", "q2_k", "q2_k"),
    unsupported("iq2_xs", "q2_k", "q2_k"),
    unsupported("iq2_s", "q2_k", "q2_k"),
    only_type("iq2_m", "q2_k"),
    unsupported("iq3_xxs", "q2_k", "q3_k"),
    only_type("iq3_xs", "q3_k_s"),
    unsupported("iq3_s", "q3_k_s", "q3_k"),
    only_type("iq3_m", "q3_k_s"),
    unsupported("q1_0", "tq1_0", "tq1_0"),
    unsupported("q2_0", "tq2_0", "tq2_0"),
    only_type("q4_0_4_4", "q4_0"),
    only_type("q4_0_4_8", "q4_0"),
    only_type("q4_0_8_8", "q4_0"),
    only_format("q8_1", "q8_0"),
    only_format("q8_k", "q8_0"),
    only_format("f64", "f32"),
    only_format("f8_e4m3", "q8_0"),
    only_format("f8_e5m2", "q8_0"),
];

impl std::fmt::Debug for FileType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl FileType {
    /// The row with this name or alias, whatever its case.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a file type that only llama-quantize writes, [`Error::UnknownName`] for any other.
    pub fn by_name(name: &str) -> Result<&'static FileType> {
        FileType::find(name)
            .ok_or_else(|| unwritten("file type", name, |u| u.file_type, FILE_TYPES.iter().map(|t| t.name)))
    }

    /// The row with this name or alias, whatever its case.
    pub(crate) fn find(name: &str) -> Option<&'static FileType> {
        let called = |t: &&FileType| t.name.eq_ignore_ascii_case(name);
        let alias = |t: &&FileType| t.alias.is_some_and(|a| a.eq_ignore_ascii_case(name));
        FILE_TYPES.iter().find(called).or_else(|| FILE_TYPES.iter().find(alias))
    }

    /// The base format.
    pub fn base(&self) -> &'static Format {
        Format::by_name(self.base).expect("a test looks every name up")
    }

    /// The type to take instead, where this one cannot have `format` in such a tensor without an importance matrix.
    pub(super) fn instead(&self, format: &Format, role: Role) -> Option<&'static str> {
        let exempt = matches!(role, Role::TokenEmbedding | Role::Output);
        self.without_imatrix.filter(|_| !exempt && format.name == self.base)
    }
}

/// A format that tersor writes, by name.
///
/// # Errors
/// [`Error::Unsupported`] for a format that only llama.cpp writes, [`Error::UnknownName`] for any other.
pub fn written_format(name: &str) -> Result<&'static Format> {
    let written = |f: &&Format| f.encoder().is_some();
    let known = || FORMATS.iter().filter(written).map(|f| f.name);
    Format::by_name(name).filter(written).ok_or_else(|| unwritten("format", name, |u| u.format, known()))
}

fn unwritten(
    what: &'static str,
    name: &str,
    nearest: impl Fn(&Unsupported) -> Option<&'static str>,
    known: impl Iterator<Item = &'static str>,
) -> Error {
    let row = UNSUPPORTED.iter().find(|u| u.name.eq_ignore_ascii_case(name));
    match row.and_then(nearest) {
        Some(nearest) => Error::Unsupported { what, name: name.to_owned(), nearest },
        None => Error::UnknownName { what, name: name.to_owned(), known: known.collect::<Vec<_>>().join(", ") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_bases_are_formats() {
        for (i, t) in FILE_TYPES.iter().enumerate() {
            assert!(Format::by_name(t.base).is_some_and(|f| f.ggml.is_some()), "{t:?}");
            assert!(std::ptr::eq(FileType::by_name(&t.name.to_uppercase()).unwrap(), t), "{t:?}");
            for other in &FILE_TYPES[i + 1..] {
                assert!(t.id != other.id || t.base == "mxfp4", "{t:?} and {other:?} have one number");
            }
            if let Some(alias) = t.alias {
                assert!(std::ptr::eq(FileType::by_name(alias).unwrap(), t), "{alias} is a name of its own");
            }
            assert!(t.without_imatrix.is_none_or(|other| FileType::find(other).is_some()), "{t:?}");
        }
        assert_eq!(FileType::by_name("Q4_K").unwrap().name, "q4_k_m");
    }

    /// Numbers of `LLAMA_FTYPE` that files in the world carry.
    #[test]
    fn numbers_are_llama_cpp_s() {
        let numbers = "f32 0, f16 1, q4_0 2, q4_1 3, q8_0 7, q5_0 8, q5_1 9, q2_k 10, q3_k_s 11, q3_k_m 12, q3_k_l 13, \
                       q4_k_s 14, q4_k_m 15, q5_k_s 16, q5_k_m 17, q6_k 18, q2_k_s 21, iq4_nl 25, iq4_xs 30, bf16 32, \
                       tq1_0 36, tq2_0 37, mxfp4_moe 38, nvfp4 39";
        for pair in numbers.split(", ") {
            let (name, id) = pair.split_once(' ').unwrap();
            assert_eq!(FileType::by_name(name).unwrap().id.to_string(), id, "{name}");
        }
    }

    #[test]
    fn what_llama_cpp_writes_and_tersor_does_not_has_a_nearest() {
        for u in UNSUPPORTED {
            assert!(FileType::find(u.name).is_none(), "{} is a file type", u.name);
            assert!(u.file_type.is_none_or(|near| FileType::find(near).is_some()), "{}", u.name);
            if let Some(near) = u.format {
                let [format, near] = [u.name, near].map(|n| Format::by_name(n).unwrap());
                assert!(format.encoder().is_none() && FILE_TYPES.iter().any(|t| t.base() == near), "{format:?}");
            }
        }
        let error = FileType::by_name("IQ3_M").unwrap_err().to_string();
        assert_eq!(error, "file type `IQ3_M` is not yet supported, nearest: q3_k_s");
        let error = written_format("iq2_xs").unwrap_err().to_string();
        assert_eq!(error, "format `iq2_xs` is not yet supported, nearest: q2_k");
        assert!(matches!(written_format("iq3_m"), Err(Error::UnknownName { .. })));
        assert!(matches!(FileType::by_name("q9_9"), Err(Error::UnknownName { .. })));
    }

    /// Every ggml format is written, or has a nearest, or will be written as the base of a file type.
    #[test]
    fn every_ggml_format_has_an_answer() {
        for f in FORMATS.iter().filter(|f| f.ggml.is_some() && f.class != tersor_kernels::Class::Integer) {
            let base = FILE_TYPES.iter().any(|t| t.base() == f);
            assert!(base || UNSUPPORTED.iter().any(|u| u.name == f.name && u.format.is_some()), "{f:?}");
        }
    }
}
