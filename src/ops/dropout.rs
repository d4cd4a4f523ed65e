//! Dropout: nothing in inference, and with masks in training where that is asked for.
//!
//! A mask is made of integers alone, in operators that every runtime computes alike: it follows from a seed, the number of the step, the place of the
//! Dropout in the network, and an element's place in its tensor. With the prime `p = 2³⁰ − 35`, all sums and products in int64:
//!
//! ```text
//! m(x) = −x³ mod p                     a permutation of 0…p−1, for 3 does not divide p − 1
//! h(i) = m(m(i + C₁) + C₂)             of an index
//! key  = m(m(m(seed + C₃) + h(step)) + C₄)
//! z    = m(… m(m(key + h(C₅ + number)) + h(i₀)) … + h(iₙ))       of the element at i₀, …, iₙ; computed axis by axis
//! ```
//!
//! A mask that is the same along an axis, as of whole channels, leaves that index out.
//!
//! An element stays where `z ≥ ratio·p`. `x` is below `2p`, so that no product reaches 2⁶². `−x²` is `x·(2p − x)`: nothing is negative, where runtimes
//! differ in what a remainder is, and nothing is squared, which tract has floats for alone.

use super::identity::Identity;
use crate::ir::{Attr, DType, Tensor, TensorType, ValueId};
use crate::onnx::pb;
use crate::operator::checked::{at, set, whole};
use crate::operator::{Builder, Facts, Function, Grad, Half, Import, Operator, Rule, View, attrs, floating, table_of};

/// What is kept of a source's Dropout for training: how much it drops.
pub const RATIO: &str = "ratio";

/// Along which axes what is dropped differs, where that is not along all of them.
pub const AXES: &str = "axes";

/// Or that this is computed while the model runs.
pub const UNKNOWN_RATIO: &str = "unknown_ratio";

/// `(seed and step) → key of this step's masks, the same with the next step`.
pub const KEY: Function = Function::new("DropoutKey");

/// `(a value of each entry) → h of each index along the entries`, for a number of entries that the step finds out.
pub const INDICES: Function = Function::new("DropoutIndices");

/// `(key, h of the indices along each axis…) → what stays`.
pub const MASK: Function = Function::new("DropoutMask");

/// `(x, what stays) → y`, and of a cotangent the same.
pub const TRAIN: Function = Function::float32("DropoutTrain");

/// The prime.
const P: i64 = (1 << 30) - 35;

/// The fractions of the square roots of the first five primes, of `P`.
const C: [i64; 5] = [444758411, 786033543, 253476052, 693370167, 339973268];

/// Dropout as it is in inference: it hands its input on. Import turns it into `Identity`, unless its input is none of an image's values: that must not be
/// computed ahead, since a mask of its own may come behind it.
pub struct Dropout;

impl Operator for Dropout {
    fn op_type(&self) -> &'static str {
        "Dropout"
    }

    fn facts(&self) -> Facts {
        Facts { view: true, half: Half::Exact, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        // How much is dropped: up to opset 11 an attribute. Where nothing is said, half.
        let given = cx.source.float("ratio").map_err(|e| e.to_string())?;
        let ratio = match given {
            Some(ratio) => Some(f64::from(ratio)),
            None if !cx.has(1) => Some(0.5),
            None => cx.constant(1).and_then(|t| t.to_f64().ok()?.first().copied()),
        };
        match ratio {
            Some(ratio) if !(0.0..1.0).contains(&ratio) => {
                return Err(format!("it drops a share of {ratio}, which must lie between 0 and 1"));
            }
            Some(ratio) => cx.training.insert(RATIO.into(), Attr::Float(ratio as f32)),
            None => cx.training.insert(UNKNOWN_RATIO.into(), Attr::Int(1)),
        };
        // A seed of the exporter's, without meaning: no two runtimes draw the same numbers from it.
        cx.source.int("seed").map_err(|e| e.to_string())?;
        if cx.has(2) {
            // A network that was exported in training mode is taken, and exported again, as it is in inference.
            cx.constant(2)
                .ok_or("whether it drops at random (input 2) is computed while the model runs; export the network in evaluation mode")?;
        }
        if cx.graph.value(cx.input(0)?).varies {
            cx.op_type = "Identity".into();
        }
        cx.inputs.truncate(1);
        // The mask is the second output. Whatever reads it is refused, because nothing computes it.
        cx.outputs.truncate(1);
        Ok(())
    }

    /// Without the switch to training and the mask.
    fn inference_form(&self, node: &mut pb::NodeProto) {
        node.input.truncate(2);
        node.output.truncate(1);
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Identity.infer(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        Identity.gradient(b, g)
    }

    fn notes(&self) -> &'static str {
        "option `dropout`: `off` has it do nothing, `keep` gives it masks of spgraph's own; the second output cannot be used"
    }
}

/// The function with a mask, as the gradient engine meets it: `dx = dy` where elements stay, times the same factor.
pub struct DropoutTrain;

impl Operator for DropoutTrain {
    fn op_type(&self) -> &'static str {
        TRAIN.name
    }

    fn facts(&self) -> Facts {
        Facts::NONE
    }

    fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
        Err("it is a function, whose body gives the types".into())
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (dy, stays) = (g.dy()?, g.input(1)?);
        Ok(vec![Some(applied(b, dy, stays, f64::from(g.node.float(RATIO, 0.0)))?), None])
    }

    fn notes(&self) -> &'static str {
        "the function that stands for Dropout with a mask"
    }
}

/// `m(x)` of a number below `2p`.
fn mixed(x: i64) -> i64 {
    // p lies below 2³⁰: no product leaves 63 bits.
    let product = |a: i64, b: i64| a.wrapping_mul(b) % P;
    product(product(x, (2 * P).wrapping_sub(x)), x)
}

/// `h(i)`.
fn hashed(i: i64) -> i64 {
    mixed(mixed((i % P).wrapping_add(C[0])).wrapping_add(C[1]))
}

/// The state before the first step of a training with that seed. Seeds are told apart modulo `p`.
pub fn start(seed: u64) -> Tensor {
    Tensor::from_i64(&[2], &[seed.checked_rem(P as u64).unwrap_or(0) as i64, 0])
}

fn number(b: &mut Builder, value: i64, like: ValueId) -> ValueId {
    let shape = vec![1; b.rank(like)];
    b.constant(Tensor::from_i64(&shape, &[value]))
}

fn remainder(b: &mut Builder, x: ValueId) -> Rule<ValueId> {
    let p = number(b, P, x);
    b.op("Mod", &[x, p], attrs([("fmod", Attr::Int(0))]))
}

/// `m(x + y)` of numbers below `p`.
fn mix(b: &mut Builder, x: ValueId, y: ValueId) -> Rule<ValueId> {
    let sum = b.add(x, y)?;
    let twice = number(b, 2 * P, sum);
    let rest = b.op("Sub", &[twice, sum], attrs([]))?;
    let square = b.mul(sum, rest)?;
    let square = remainder(b, square)?;
    let cube = b.mul(square, sum)?;
    remainder(b, cube)
}

fn mix_number(b: &mut Builder, x: ValueId, y: i64) -> Rule<ValueId> {
    let y = number(b, y, x);
    mix(b, x, y)
}

fn hash(b: &mut Builder, i: ValueId) -> Rule<ValueId> {
    let once = mix_number(b, i, C[0])?;
    mix_number(b, once, C[1])
}

/// From the state, a seed and the number of the step: the key of the step's masks, and the next state.
pub fn key(b: &mut Builder, state: ValueId) -> Rule<[ValueId; 2]> {
    b.call(&KEY, [state], attrs([]), |b, [state]| {
        let mut part = |at: i64, end: i64| {
            let one = b.slice(state, &[0], &[at], &[end], &[1])?;
            remainder(b, one)
        };
        let (seed, step) = (part(0, 1)?, part(1, 2)?);
        let (seed, step) = (mix_number(b, seed, C[2])?, hash(b, step)?);
        let both = mix(b, seed, step)?;
        let key = mix_number(b, both, C[3])?;
        let one = b.constant(Tensor::from_i64(&[2], &[0, 1]));
        Ok([key, b.add(state, one)?])
    })
}

/// `h` of the indices of an axis of known length, with as many axes as a tensor that it is axis `axis` of.
pub fn indices(length: usize, axis: usize, rank: usize) -> Rule<Tensor> {
    table_of(&[length])?;
    let mut shape = vec![1; rank];
    set(&mut shape, axis, length)?;
    Ok(Tensor::from_i64(&shape, &(0..length as i64).map(hashed).collect::<Vec<_>>()))
}

/// The same of an axis of `x` whose length is found out while the step runs.
pub fn counted_indices(b: &mut Builder, x: ValueId, axis: usize) -> Rule<ValueId> {
    let others: Vec<usize> = (0..b.rank(x)).filter(|&a| a != axis).collect();
    let (zeros, ones) = (vec![0; others.len()], vec![1; others.len()]);
    let entries = if others.is_empty() { x } else { b.slice(x, &others, &zeros, &ones, &ones)? };
    let [indices] = b.call(&INDICES, [entries], attrs([("axis", Attr::Int(axis as i64))]), |b, [entries]| {
        // What is there is of no interest, but how much: whether it is true or not.
        let there = b.cast(entries, DType::Bool)?;
        let not = b.op("Not", &[there], attrs([]))?;
        let always = b.op("Or", &[there, not], attrs([]))?;
        // tract adds up floats alone; these hold every count.
        let ones = b.cast(always, DType::F64)?;
        let along = b.constant(Tensor::from_i64(&[], &[axis as i64]));
        let counted = b.op("CumSum", &[ones, along], attrs([("exclusive", Attr::Int(1)), ("reverse", Attr::Int(0))]))?;
        let counted = b.cast(counted, DType::I64)?;
        Ok([hash(b, counted)?])
    })?;
    Ok(indices)
}

/// `x` through the Dropout with that number in the network. `key` is the step's, `indices` are those along each axis along which the mask differs, with as many
/// axes as `x`.
pub fn train(b: &mut Builder, x: ValueId, key: ValueId, indices: &[ValueId], (place, ratio): (usize, f32)) -> Rule<ValueId> {
    floating(b.ty(x))?;
    if b.rank(x) == 0 {
        return Err(format!("it drops elements of {}, which has no axes", b.ty(x)));
    }
    let inputs: Vec<ValueId> = std::iter::once(key).chain(indices.iter().copied()).collect();
    let attributes = attrs([(RATIO, Attr::Float(ratio)), ("number", Attr::Int(place as i64))]);
    let stays = b.call_list(&MASK, &inputs, attributes, |b, inputs| {
        let (&key, axes) = inputs.split_first().ok_or("a mask has no key")?;
        let mut z = mix_number(b, key, hashed((whole(C[4]) + place).int()?))?;
        for &axis in axes {
            z = mix(b, z, axis)?;
        }
        let least = number(b, (f64::from(ratio) * P as f64).round() as i64, z);
        Ok(vec![b.op("GreaterOrEqual", &[z, least], attrs([]))?])
    })?;
    applied(b, x, at(&stays, 0)?, f64::from(ratio))
}

fn applied(b: &mut Builder, x: ValueId, stays: ValueId, ratio: f64) -> Rule<ValueId> {
    let [y] = b.call(&TRAIN, [x, stays], attrs([(RATIO, Attr::Float(ratio as f32))]), |b, [x, stays]| {
        let (factor, zero) = (b.number(1.0 / (1.0 - ratio), x), b.number(0.0, x));
        let mask = b.op("Where", &[stays, factor, zero], attrs([]))?;
        Ok([b.mul(x, mask)?])
    })?;
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_mixed_without_losing_one_and_without_overflow() {
        let largest = 2 * (P - 1);
        assert!(largest.checked_mul(largest).is_some());
        assert_eq!((P - 1) % 3, 1, "3 has no inverse modulo p - 1");
        let inverse = |y: i64| {
            // y^(1/3): 3·d = 1 mod p - 1.
            let (mut d, mut base, mut found) = ((2 * (P - 1) + 1) / 3, y, 1i64);
            while d > 0 {
                if d % 2 == 1 {
                    found = found * base % P;
                }
                (base, d) = (base * base % P, d / 2);
            }
            found
        };
        for x in [0, 1, 2, 12345, P - 2, P - 1] {
            assert_eq!(inverse((P - mixed(x)) % P), x);
            assert_eq!(mixed(x + P), mixed(x));
        }
        assert_eq!(start(7), start(P as u64 + 7));
        assert!(start(u64::MAX).to_i64().unwrap()[0] < P);
    }
}
