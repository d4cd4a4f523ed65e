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

use super::{Reads, Regularizer, Seen, Settings, Term, column};
use crate::ir::{Attr, Attrs, DType, Dim, Tensor, ValueId};
use crate::operator::{Builder, Function, Rule};

/// `(features, shares, strength) → value, dfeatures`.
pub const PENALTY: Function = Function::new("BssPenalty");

/// 2⁴⁴: beyond what float64 tells apart.
const SQUARINGS: usize = 44;

pub struct Bss;

impl Regularizer for Bss {
    fn kind(&self) -> &'static str {
        "bss"
    }

    fn default_strength(&self) -> f64 {
        1e-3
    }

    fn reads(&self) -> Reads {
        Reads::Features
    }

    fn term(&self, b: &mut Builder, seen: &Seen, settings: &Settings) -> Rule<Term> {
        let &[Dim::Known(rows), Dim::Known(columns)] = b.shape(seen.tuned) else {
            return Err(format!("bss needs features [N, D] with a known N, these are {}; rewrite with a fixed --batch", b.ty(seen.tuned)));
        };
        let count = settings.singular_values;
        if count > rows.min(columns) {
            return Err(format!(
                "--bss-k {count} is more than the {} singular values of {rows} images with {columns} features each",
                rows.min(columns)
            ));
        }
        let dtype = b.dtype(seen.tuned);
        let attributes = Attrs::from([("k".to_string(), Attr::Int(count as i64))]);
        let outputs = b.call(&PENALTY, &[seen.tuned, seen.shares, seen.strength], attributes, |b, i| {
            let features = b.cast(i[0], DType::F64)?;
            let shares = b.cast(i[1], DType::F64)?;
            let counts = valid(b, shares)?;
            // Padding has no part in F.
            let there = column(b, counts, features)?;
            let features = b.mul(features, there)?;
            let turned = b.transpose(features, &[1, 0])?;
            let of_rows = rows <= columns;
            let gram = if of_rows { b.matmul(features, turned)? } else { b.matmul(turned, features)? };
            let unit = identity(b, rows.min(columns));
            let mut power = complement(b, gram, unit, of_rows.then_some(counts))?;
            let (mut values, mut gradients) = (vec![], vec![]);
            for _ in 0..count {
                let v = dominant(b, power, unit)?;
                let vt = b.transpose(v, &[1, 0])?;
                // σ·(the other singular vector), and the part of F that the pair makes up.
                let (other, part) = if of_rows {
                    let u = b.matmul(vt, features)?;
                    (u, b.matmul(v, u)?)
                } else {
                    let u = b.matmul(features, v)?;
                    (u, b.matmul(u, vt)?)
                };
                values.push(b.sum_square(other)?);
                gradients.push(part);
                let image = b.matmul(power, v)?;
                let eigenvalue = b.matmul(vt, image)?;
                let projector = b.matmul(v, vt)?;
                let share = b.mul(projector, eigenvalue)?;
                power = b.sub(power, share)?;
            }
            let strength = b.cast(i[2], DType::F64)?;
            let value = b.total(&values)?;
            let value = b.mul(value, strength)?;
            let gradient = b.total(&gradients)?;
            let double = column(b, strength, gradient)?;
            let two = b.number(2.0, double);
            let double = b.mul(double, two)?;
            let gradient = b.mul(gradient, double)?;
            Ok(vec![b.cast(value, dtype)?, b.cast(gradient, dtype)?])
        })?;
        Ok(Term { value: outputs[0], gradient: outputs[1] })
    }
}

/// 1 for each image that counts, 0 for padding.
fn valid(b: &mut Builder, shares: ValueId) -> Rule<ValueId> {
    let zero = b.number(0.0, shares);
    let counts = b.op("Greater", &[shares, zero], Attrs::new())?;
    b.cast(counts, DType::F64)
}

fn identity(b: &mut Builder, size: usize) -> ValueId {
    let values: Vec<f64> = (0..size * size).map(|i| if i / size == i % size { 1.0 } else { 0.0 }).collect();
    b.constant(Tensor::from_f64(&[size, size], &values))
}

/// `trace(m)`, as `[1, 1]`, at least a number that can divide.
fn trace(b: &mut Builder, m: ValueId, unit: ValueId) -> Rule<ValueId> {
    let diagonal = b.mul(m, unit)?;
    let sum = b.sum(diagonal, &[0, 1], true)?;
    let tiny = b.number(1e-300, sum);
    b.op("Max", &[sum, tiny], Attrs::new())
}

/// `I − ½·G/trace(G)`, whose eigenvalues lie between ½ and 1, and 0 in the rows and columns of padding, where the rows of `G` are images.
fn complement(b: &mut Builder, gram: ValueId, unit: ValueId, counts: Option<ValueId>) -> Rule<ValueId> {
    let whole = trace(b, gram, unit)?;
    let two = b.number(2.0, whole);
    let whole = b.mul(whole, two)?;
    let scaled = b.div(gram, whole)?;
    let rest = match counts {
        Some(counts) => {
            let counts = column(b, counts, unit)?;
            b.mul(unit, counts)?
        }
        None => unit,
    };
    b.sub(rest, scaled)
}

/// The eigenvector of the largest eigenvalue of a symmetric matrix without negative ones, `[size, 1]`.
fn dominant(b: &mut Builder, matrix: ValueId, unit: ValueId) -> Rule<ValueId> {
    let mut power = matrix;
    for _ in 0..SQUARINGS {
        let whole = trace(b, power, unit)?;
        let scaled = b.div(power, whole)?;
        power = b.matmul(scaled, scaled)?;
    }
    let diagonal = b.mul(power, unit)?;
    let diagonal = b.sum(diagonal, &[0], false)?;
    let largest = b.op("ArgMax", &[diagonal], Attrs::from([("axis".to_string(), Attr::Int(0)), ("keepdims".to_string(), Attr::Int(1))]))?;
    let v = b.op("Gather", &[power, largest], Attrs::from([("axis".to_string(), Attr::Int(1))]))?;
    let square = b.sum_square(v)?;
    let norm = b.op("Sqrt", &[square], Attrs::new())?;
    let tiny = b.number(1e-300, norm);
    let norm = b.op("Max", &[norm, tiny], Attrs::new())?;
    let norm = b.reshape(norm, &[1.into(), 1.into()])?;
    b.div(v, norm)
}
