//! What is known of each image.

use ndarray::Array2;

/// What a network is to say about each image.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class.
    Classes(Vec<u32>),
    /// Some of the classes, sorted; there may be none.
    Several(Vec<Box<[u32]>>),
    /// Numbers, images × numbers.
    Numbers(Array2<f32>),
}

/// What a network learns from: which of [`Targets`] its loss takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetKind {
    /// One class for each image.
    #[default]
    Class,
    /// Some of the classes; one of them will do.
    Several,
    /// So many numbers, or [`TargetKind::ANY`]; where there is one column of classes, the class.
    Numbers(usize),
}

impl TargetKind {
    /// However many there are.
    pub const ANY: usize = 0;
}

impl Targets {
    pub(super) fn len(&self) -> usize {
        match self {
            Targets::Classes(of) => of.len(),
            Targets::Several(of) => of.len(),
            Targets::Numbers(of) => of.nrows(),
        }
    }

    /// Those of some images, which must exist.
    pub(super) fn subset(&self, indices: &[usize]) -> Targets {
        match self {
            Targets::Classes(of) => Targets::Classes(indices.iter().filter_map(|&i| of.get(i).copied()).collect()),
            Targets::Several(of) => Targets::Several(indices.iter().filter_map(|&i| of.get(i).cloned()).collect()),
            Targets::Numbers(of) => Targets::Numbers(of.select(ndarray::Axis(0), indices)),
        }
    }
}
