//! Batch Spectral Shrinkage (Chen, Wang, Fu, Long and Wang, *Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for
//! Safe Transfer Learning*, NeurIPS 2019): the smallest singular values of the batch's feature matrix `F`, `[N, D]`, are pushed to 0, since
//! what they stand for is what transfers worst:
//!
//! ```text
//! Ω = strength · Σ_{i=1…k} σ₋ᵢ²           ∂Ω/∂F = 2·strength · Σ_i v₋ᵢ·v₋ᵢᵀ·F
//! ```
//!
//! with `v₋ᵢ` the left singular vector of the i-th smallest singular value `σ₋ᵢ` (k = 1 and strength 0.001 in the paper and in the
//! Transfer-Learning-Library). ONNX has no singular value decomposition; standard operators find the vectors so, in float64:
//!
//! - `G = F·Fᵀ` (or `Fᵀ·F`, the smaller one), and `M = I − ½·G/trace(G)`, whose largest eigenvalue belongs to the smallest one of `G`.
//! - `M` is squared 44 times and divided by its trace each time. What is left is the projector on the eigenvector, as long as the next
//!   eigenvalue of `G` is further than 1e-12 of the trace; `v` is its largest column, normalised.
//! - `M − (vᵀ·M·v)·v·vᵀ` gives the next one.
//!
//! Where the smallest eigenvalues are equal, `v` is one of their eigenvectors, as in any decomposition. Rows of padding are taken out of the
//! way by eigenvalues 0 of `M`.

use super::{Reads, Regularize, Seen, Term, column};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Attr, DType, Dim, Tensor};
use crate::operator::{Builder, Function, Rule, attrs, table_of};
use crate::ops::blocks::{Expr, formula};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `(features, shares, strength) → value, dfeatures`.
pub const PENALTY: Function = Function::float32("BssPenalty");

/// 2⁴⁴: beyond what float64 tells apart.
const SQUARINGS: usize = 44;

/// Batch Spectral Shrinkage with its settings; the defaults are the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bss {
    /// The factor on the term.
    pub strength: f64,
    /// k, how many of the smallest singular values are shrunk.
    pub singular_values: usize,
}

impl Default for Bss {
    fn default() -> Self {
        Bss { strength: 1e-3, singular_values: 1 }
    }
}

impl Regularize for Bss {
    fn strength(&self) -> f64 {
        self.strength
    }

    fn set_strength(&mut self, strength: f64) {
        self.strength = strength;
    }

    fn reads(&self) -> Reads<'_> {
        Reads::Features
    }

    fn check(&self) -> Result<()> {
        match self.singular_values {
            0 => Err(Error::option(Field::SINGULAR_VALUES, " 0 makes no sense: give the number of singular values, 1 or more")),
            _ => Ok(()),
        }
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("singular_values", self.singular_values.into())]
    }

    fn summary(&self, _: &[String]) -> String {
        format!("{} singular value{} of the features", self.singular_values, if self.singular_values == 1 { "" } else { "s" })
    }

    fn term(&self, b: &mut Builder, seen: &Seen) -> Rule<Term> {
        let &[Dim::Known(rows), Dim::Known(columns)] = b.shape(seen.tuned) else {
            return Err(format!(
                "bss needs features [N, D] with a known N, these are {}; rewrite with a fixed batch size",
                b.ty(seen.tuned)
            ));
        };
        let count = self.singular_values;
        if count == 0 {
            return Err("bss needs one singular value or more".into());
        }
        if count > rows.min(columns) {
            return Err(format!(
                "{count} singular values are asked for, more than the {} singular values of {rows} images with {columns} features each",
                rows.min(columns)
            ));
        }
        let dtype = b.dtype(seen.tuned);
        let attributes = attrs([("k", Attr::Int(count as i64))]);
        let unit = identity(rows.min(columns))?;
        let rule = formula(|[features, shares, strength]| {
            let features = features.cast(DType::F64);
            let counts = shares.cast(DType::F64).greater(0.0).cast(DType::F64);
            // Padding has no part in F.
            let features = features * column(counts, features);
            let turned = features.transpose(&[1, 0]);
            let of_rows = rows <= columns;
            let gram = if of_rows { features.matmul(turned) } else { turned.matmul(features) };
            let unit = gram.constant(unit);
            let mut power = complement(gram, unit, of_rows.then_some(counts));
            let mut found = vec![];
            for _ in 0..count {
                let v = dominant(power, unit);
                let vt = v.transpose(&[1, 0]);
                // σ·(the other singular vector), and the part of F that the pair makes up.
                let (other, part) = if of_rows {
                    let u = vt.matmul(features);
                    (u, v.matmul(u))
                } else {
                    let u = features.matmul(v);
                    (u, u.matmul(vt))
                };
                found.push((other.sum_square(), part));
                let eigenvalue = vt.matmul(power.matmul(v));
                power = power - v.matmul(vt) * eigenvalue;
            }
            let strength = strength.cast(DType::F64);
            let (values, gradients): (Vec<_>, Vec<_>) = found.into_iter().unzip();
            let value = together(&values, strength) * strength;
            let gradient = together(&gradients, features);
            let double = column(strength, gradient) * 2.0;
            let gradient = gradient * double;
            [value.cast(dtype), gradient.cast(dtype)]
        });
        let [value, gradient] = b.call(&PENALTY, [seen.tuned, seen.shares, seen.strength], attributes, rule)?;
        Ok(Term { value, gradient })
    }
}

fn identity(size: usize) -> Rule<Tensor> {
    let mut values = vec![0.0; table_of(&[size, size])?];
    values.iter_mut().step_by(size.saturating_add(1)).for_each(|v| *v = 1.0);
    Ok(Tensor::from_f64(&[size, size], &values))
}

/// The sum of what a loop found, of which there is one at least; `none` otherwise.
fn together<'f>(found: &[Expr<'f>], none: Expr<'f>) -> Expr<'f> {
    found.split_first().map_or(none, |(first, rest)| first.plus(rest))
}

/// `trace(m)`, as `[1, 1]`, at least a number that can divide.
fn trace<'f>(m: Expr<'f>, unit: Expr<'f>) -> Expr<'f> {
    (m * unit).sum(&[0, 1], true).max(1e-300)
}

/// `I − ½·G/trace(G)`, whose eigenvalues lie between ½ and 1, and 0 in the rows and columns of padding, where the rows of `G` are images.
fn complement<'f>(gram: Expr<'f>, unit: Expr<'f>, counts: Option<Expr<'f>>) -> Expr<'f> {
    let scaled = gram / (trace(gram, unit) * 2.0);
    counts.map_or(unit, |counts| unit * column(counts, unit)) - scaled
}

/// The eigenvector of the largest eigenvalue of a symmetric matrix without negative ones, `[size, 1]`.
fn dominant<'f>(matrix: Expr<'f>, unit: Expr<'f>) -> Expr<'f> {
    let mut power = matrix;
    for _ in 0..SQUARINGS {
        let scaled = power / trace(power, unit);
        power = scaled.matmul(scaled);
    }
    let diagonal = (power * unit).sum(&[0], false);
    let largest = diagonal.with(|b, v| b.op("ArgMax", &[v], attrs([("axis", Attr::Int(0)), ("keepdims", Attr::Int(1))])));
    let v = power.with_both(largest, |b, power, at| b.op("Gather", &[power, at], attrs([("axis", Attr::Int(1))])));
    v / v.sum_square().sqrt().max(1e-300).reshape(&[1.into(), 1.into()])
}
