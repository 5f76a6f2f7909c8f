//! Which hidden states of a student are to come near which of its teacher.

use crate::error::{Error, Result};
use crate::model::train::Nearness;

/// Hidden states that are matched.
#[derive(Clone, Debug)]
pub struct Matching {
    /// How far they are from each other.
    pub nearness: Nearness,
    /// What their mean distance counts beside the other losses.
    pub weight: f32,
    /// Blocks of the student, each with one of the teacher, both ascending.
    pub pairs: Vec<(usize, usize)>,
}

/// How blocks are matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerMap {
    /// Every block of the student, at the same share of the depth.
    Uniform,
    /// The last ones.
    Last,
    /// These blocks of the student, each with one of the teacher.
    Listed(Vec<(usize, usize)>),
}

impl LayerMap {
    /// The pairs for models of so many blocks.
    ///
    /// # Errors
    /// [`Error::Usage`] for blocks that there are not, or that are not in order.
    pub fn pairs(&self, student: usize, teacher: usize) -> Result<Vec<(usize, usize)>> {
        match self {
            LayerMap::Uniform => {
                Ok((0..student).map(|n| (n, ((n + 1) * teacher).div_ceil(student).clamp(1, teacher) - 1)).collect())
            }
            LayerMap::Last => Ok(vec![(student - 1, teacher - 1)]),
            LayerMap::Listed(pairs) => {
                let outside = pairs.iter().find(|(own, of)| *own >= student || *of >= teacher);
                let tangled = pairs.windows(2).find(|w| w[1].0 <= w[0].0 || w[1].1 <= w[0].1).map(|w| &w[1]);
                let Some((own, of)) = outside.or(tangled) else { return Ok(pairs.clone()) };
                let problem = format!("block {own} of the student cannot be matched with block {of} of the teacher");
                let hint = format!("blocks are numbered from 0, ascend on both sides, and are {student} and {teacher}");
                Err(Error::Usage { problem, hint })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_matched_in_order() {
        assert_eq!(LayerMap::Uniform.pairs(2, 4).unwrap(), [(0, 1), (1, 3)]);
        assert_eq!(LayerMap::Uniform.pairs(3, 3).unwrap(), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(LayerMap::Uniform.pairs(2, 5).unwrap(), [(0, 2), (1, 4)]);
        assert_eq!(LayerMap::Last.pairs(2, 4).unwrap(), [(1, 3)]);
        assert_eq!(LayerMap::Listed(vec![(0, 1), (1, 2)]).pairs(2, 4).unwrap(), [(0, 1), (1, 2)]);
        for bad in [vec![(2, 1)], vec![(0, 4)], vec![(0, 1), (1, 1)], vec![(1, 1), (0, 2)]] {
            assert!(LayerMap::Listed(bad).pairs(2, 4).is_err());
        }
    }
}
