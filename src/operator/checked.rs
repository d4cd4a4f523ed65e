//! Whole numbers that a file may decide, computed with: nothing overflows, and nothing is read beside a list.

use super::{Rule, fixed};
use crate::ir::{Dim, TensorType};
use std::ops::{Add, Mul, Neg, Sub};

/// What is said of numbers that are no sizes.
pub(crate) const OUT_OF_RANGE: &str = "which is out of range";

/// A whole number under computation. What leaves the numbers of 64 bits at any step is none, and is refused at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole(Option<i64>);

/// A size or number to compute with.
pub(crate) fn whole(n: impl Into<Whole>) -> Whole {
    n.into()
}

impl From<i64> for Whole {
    fn from(n: i64) -> Whole {
        Whole(Some(n))
    }
}

impl From<usize> for Whole {
    fn from(n: usize) -> Whole {
        Whole(i64::try_from(n).ok())
    }
}

impl Whole {
    fn with(self, other: impl Into<Whole>, f: impl Fn(i64, i64) -> Option<i64>) -> Whole {
        Whole(self.0.zip(other.into().0).and_then(|(a, b)| f(a, b)))
    }

    /// The number.
    pub fn int(self) -> Rule<i64> {
        self.0.ok_or_else(|| format!("it computes a size {OUT_OF_RANGE}"))
    }

    /// The number, which is none below 0.
    pub fn size(self) -> Rule<usize> {
        self.0.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| format!("it computes a size {OUT_OF_RANGE}"))
    }

    /// The number as a dimension.
    pub fn dim(self) -> Rule<Dim> {
        self.size().map(Dim::Known)
    }
}

impl<T: Into<Whole>> Add<T> for Whole {
    type Output = Whole;

    fn add(self, other: T) -> Whole {
        self.with(other, i64::checked_add)
    }
}

impl<T: Into<Whole>> Sub<T> for Whole {
    type Output = Whole;

    fn sub(self, other: T) -> Whole {
        self.with(other, i64::checked_sub)
    }
}

impl<T: Into<Whole>> Mul<T> for Whole {
    type Output = Whole;

    fn mul(self, other: T) -> Whole {
        self.with(other, i64::checked_mul)
    }
}

impl Neg for Whole {
    type Output = Whole;

    fn neg(self) -> Whole {
        Whole(self.0.and_then(i64::checked_neg))
    }
}

/// The product of sizes.
pub(crate) fn times(sizes: &[usize]) -> Rule<usize> {
    sizes.iter().fold(whole(1usize), |all, &size| all * size).size()
}

/// Entry `i` of a list.
pub(crate) fn at<T: Copy>(list: &[T], i: usize) -> Rule<T> {
    list.get(i).copied().ok_or_else(|| missing(list.len(), i))
}

/// Puts a value in the place of entry `i` of a list.
pub(crate) fn set<T>(list: &mut [T], i: usize, value: T) -> Rule<()> {
    let count = list.len();
    *list.get_mut(i).ok_or_else(|| missing(count, i))? = value;
    Ok(())
}

fn missing(count: usize, i: usize) -> String {
    format!("it has {count} entries where number {i}, counted from 0, is asked for")
}

/// Batch, channels and spatial sizes of images.
pub(crate) fn image(ty: &TensorType) -> Rule<(Dim, Dim, &[Dim])> {
    match &*ty.shape {
        [batch, channels, spatial @ ..] => Ok((*batch, *channels, spatial)),
        _ => Err(format!("it needs images, and gets {ty}")),
    }
}

/// The spatial sizes of images, which must be numbers.
pub(crate) fn spatial_sizes(ty: &TensorType) -> Rule<Vec<usize>> {
    let (_, _, spatial) = image(ty)?;
    fixed(&TensorType { dtype: ty.dtype, shape: spatial.to_vec() })
}

/// Dimensions as numbers.
pub(crate) fn known(sizes: &[usize]) -> Vec<Dim> {
    sizes.iter().map(|&n| Dim::Known(n)).collect()
}

/// Sizes as ONNX writes them.
pub(crate) fn signed(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&n| n as i64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overflows_is_no_number() {
        assert_eq!((whole(5usize) * 3usize - 20i64).int(), Ok(-5));
        assert!((whole(5usize) - 6usize).size().is_err());
        assert!((whole(i64::MAX) + 1usize - 1usize).int().is_err(), "not even where it comes back");
        assert!((-whole(i64::MIN)).int().is_err());
        assert!(whole(usize::MAX).int().is_err());
        assert!(times(&[1 << 40, 1 << 40, 0]).is_err());
    }

    #[test]
    fn entries_that_are_not_there_are_refused() {
        let mut list = [1, 2];
        assert_eq!(at(&list, 1), Ok(2));
        assert_eq!(set(&mut list, 2, 3).unwrap_err(), "it has 2 entries where number 2, counted from 0, is asked for");
        assert_eq!(list, [1, 2]);
    }
}
