//! File types: llama-quantize's names for a base format with exceptions by role.

use crate::arch::Role;
use crate::error::{Error, Result};
use tersor_kernels::Format;

/// A row of [`FILE_TYPES`].
pub struct FileType {
    /// The name on the command line, lower case.
    pub name: &'static str,
    /// `general.file_type`.
    pub id: u32,
    /// Format of weight matrices.
    pub base: &'static str,
    /// Formats of other roles. A tied embedding counts as [`Role::Output`].
    pub roles: &'static [(Role, &'static str)],
}

/// The output head reacts most to rounding, so low-bit types keep it at 8 bits.
const OUTPUT_Q8: &[(Role, &str)] = &[(Role::Output, "q8_0")];

const fn row(name: &'static str, id: u32, roles: &'static [(Role, &'static str)]) -> FileType {
    FileType { name, id, base: name, roles }
}

/// Every file type that can be written.
pub static FILE_TYPES: &[FileType] = &[
    row("f32", 0, &[]),
    row("f16", 1, &[]),
    row("bf16", 32, &[]),
    row("q8_0", 7, &[]),
    row("q5_1", 9, OUTPUT_Q8),
    row("q5_0", 8, OUTPUT_Q8),
    row("q4_1", 3, OUTPUT_Q8),
    row("q4_0", 2, OUTPUT_Q8),
];

impl std::fmt::Debug for FileType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl FileType {
    /// The row with this name, whatever its case.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the names that there are.
    pub fn by_name(name: &str) -> Result<&'static FileType> {
        FILE_TYPES.iter().find(|t| t.name.eq_ignore_ascii_case(name)).ok_or_else(|| Error::UnknownName {
            what: "file type",
            name: name.to_owned(),
            known: FILE_TYPES.iter().map(|t| t.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// The base format.
    pub fn base(&self) -> &'static Format {
        Format::by_name(self.base).expect("a test looks every name up")
    }

    /// The format for a role, if it has one of its own.
    pub fn for_role(&self, role: Role) -> Option<&'static Format> {
        let (_, name) = self.roles.iter().find(|(r, _)| *r == role)?;
        Format::by_name(name)
    }
}

/// A format that tersor writes, by name.
///
/// # Errors
/// [`Error::UnknownName`] with the names that there are.
pub fn written_format(name: &str) -> Result<&'static Format> {
    Format::by_name(name).filter(|f| f.encoder().is_some()).ok_or_else(|| Error::UnknownName {
        what: "format",
        name: name.to_owned(),
        known: tersor_kernels::FORMATS
            .iter()
            .filter(|f| f.encoder().is_some())
            .map(|f| f.name)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_table_is_a_written_format() {
        for t in FILE_TYPES {
            assert!(t.base().encoder().is_some(), "{t:?}");
            for (role, name) in t.roles {
                assert!(written_format(name).is_ok(), "{t:?} {role:?}");
            }
        }
    }
}
