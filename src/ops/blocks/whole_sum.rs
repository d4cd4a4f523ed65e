//! Sums of all elements of a tensor.
//!
//! Runtimes add float32 numbers up one after the other: of two million squares the sum is wrong by 6·10⁻⁵, of a hundred million by 2 %. So large
//! tensors are summed in stages, first within rows.

use crate::ir::{Attr, Dim, ValueId};
use crate::operator::{Builder, Rule, attrs};

/// So many elements are summed at once without losing digits.
const AT_ONCE: usize = 1024;

/// The longest row.
const ROW: usize = 512;

/// Below this length rows are too short to be worth it.
const SHORT: usize = 64;

impl Builder<'_> {
    /// The sum of all elements, a scalar.
    pub fn sum_all(&mut self, a: ValueId) -> Rule<ValueId> {
        let mut a = a;
        while let Some(rows) = self.rows(a)? {
            a = self.sum(rows, &[1], false)?;
        }
        let all: Vec<usize> = (0..self.rank(a)).collect();
        self.sum(a, &all, false)
    }

    /// The sum of the squares of all elements, a scalar.
    pub fn sum_square(&mut self, a: ValueId) -> Rule<ValueId> {
        match self.ty(a).count() {
            Some(Dim::Known(count)) if count > AT_ONCE => {
                let square = self.mul(a, a)?;
                self.sum_all(square)
            }
            _ => self.op("ReduceSumSquare", &[a], attrs([("keepdims", Attr::Int(0))])),
        }
    }

    /// The same elements in rows, where they are too many to be summed at once and their number is known; zeros fill the last row.
    fn rows(&mut self, a: ValueId) -> Rule<Option<ValueId>> {
        let Some(Dim::Known(count)) = self.ty(a).count().filter(|c| matches!(c, Dim::Known(n) if *n > AT_ONCE)) else { return Ok(None) };
        let (mut a, mut count) = (a, count);
        let longest = |count: usize| (1..=ROW).rev().find(|&d| count.is_multiple_of(d)).unwrap_or(1);
        let mut row = longest(count);
        if row < SHORT {
            let flat = self.reshape(a, &[count.into()])?;
            let whole_rows = count.checked_next_multiple_of(ROW).ok_or("it sums impossibly many elements")?;
            let missing = whole_rows.saturating_sub(count);
            a = self.pad(flat, &[0], &[missing as i64], 0.0)?;
            (count, row) = (whole_rows, ROW);
        }
        self.reshape(a, &[count.checked_div(row).unwrap_or(count).into(), row.into()]).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Graph, TensorType};

    /// The shapes of what is summed, one stage after the other.
    fn stages(shape: &[usize]) -> Vec<Vec<usize>> {
        let mut graph = Graph::new("sum");
        let x = graph.input("x", TensorType::new(DType::F32, shape.iter().copied()));
        let sum = Builder::new(&mut graph).sum_all(x).unwrap();
        assert_eq!(graph.ty(sum).rank(), 0);
        let sums = graph.nodes.iter().filter(|n| n.op_type == "ReduceSum");
        sums.map(|n| graph.ty(n.inputs[0].unwrap()).dims().unwrap()).collect()
    }

    #[test]
    fn large_tensors_are_summed_row_by_row() {
        assert_eq!(stages(&[32, 32]), [[32, 32]]);
        assert_eq!(stages(&[512, 512, 3, 3]), [vec![4608, 512], vec![9, 512], vec![9]]);
        assert_eq!(stages(&[4096, 25088]), [vec![200704, 512], vec![392, 512], vec![392]]);
    }

    #[test]
    fn a_number_without_divisors_is_filled_up() {
        assert_eq!(stages(&[1_000_003]), [vec![1954, 512], vec![4, 512], vec![4]]);
    }
}
