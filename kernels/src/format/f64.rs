//! f64: IEEE double precision, read only.

use crate::Level;

/// Rounded to the nearest single; values past its range become infinite.
pub(super) fn decode(_: Level, src: &[u8], dst: &mut [f32]) {
    for (bytes, y) in src.as_chunks::<8>().0.iter().zip(dst) {
        *y = f64::from_le_bytes(*bytes) as f32;
    }
}
