//! Sums of products in Einstein's notation, imported as transpositions, products and sums.

use crate::ir::{Dim, TensorType, ValueId, product};
use crate::operator::{Builder, Import, Operator, Rule, View, floating, imported_as};
use std::collections::{BTreeMap, BTreeSet};

/// `bij,bjk->bik` and the like: two operands after the other become one matrix product over what they share and the result lacks, batched over what
/// all three have. The gradient is that of the operators that take its place.
pub struct Einsum;

/// An axis by its letter, or by its place from the end of those that `…` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    More(usize),
    Letter(char),
}

/// The labels of one term, `more` of them behind its dots.
fn labels(term: &str, rank: Option<usize>, widest: usize) -> Rule<Vec<Label>> {
    let (before, after) = match term.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (term, None),
    };
    let letters = |part: &str| -> Rule<Vec<Label>> {
        part.chars()
            .map(|c| if c.is_ascii_alphabetic() { Ok(Label::Letter(c)) } else { Err(format!("`{c}` in its equation is no letter")) })
            .collect()
    };
    let mut list = letters(before)?;
    if let Some(after) = after {
        let after = letters(after)?;
        let more = match rank {
            Some(rank) => rank
                .checked_sub(list.len().saturating_add(after.len()))
                .ok_or_else(|| format!("its term {term} does not fit an operand of {rank} axes"))?,
            None => widest,
        };
        list.extend((0..more).rev().map(Label::More));
        list.extend(after);
    }
    let unique: BTreeSet<Label> = list.iter().copied().collect();
    if unique.len() != list.len() {
        return Err(format!("its term {term} names an axis twice, which takes a diagonal; that is not supported"));
    }
    match rank {
        Some(rank) if rank != list.len() => Err(format!("its term {term} does not fit an operand of {rank} axes")),
        _ => Ok(list),
    }
}

/// The terms of an equation for operands of the given ranks, and the result's.
fn parse(equation: &str, ranks: &[usize]) -> Rule<(Vec<Vec<Label>>, Vec<Label>)> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ranks.len() {
        return Err(format!("its equation `{equation}` has {} terms for {} operands", terms.len(), ranks.len()));
    }
    let operands = terms.iter().zip(ranks).map(|(term, &rank)| labels(term, Some(rank), 0)).collect::<Rule<Vec<_>>>()?;
    let widest = operands.iter().flatten().map(|l| if let Label::More(i) = l { i.saturating_add(1) } else { 0 }).max().unwrap_or(0);
    let result = match right {
        Some(right) => labels(right, None, widest)?,
        None => {
            // What stands once, in the order of the alphabet, behind the dots.
            let all = || operands.iter().flatten();
            let single = all().filter(|l| matches!(l, Label::Letter(_)) && all().filter(|o| o == l).count() == 1);
            let letters: BTreeSet<Label> = single.copied().collect();
            (0..widest).rev().map(Label::More).chain(letters).collect()
        }
    };
    match result.iter().find(|l| !operands.iter().any(|o| o.contains(l))) {
        Some(Label::Letter(c)) => Err(format!("its equation `{equation}` has {c} in its result alone")),
        _ => Ok((operands, result)),
    }
}

/// A value with a label for each axis.
#[derive(Clone)]
struct Term {
    value: ValueId,
    labels: Vec<Label>,
}

impl Term {
    /// The sum over all axes but `kept`.
    fn summed(self, b: &mut Builder, kept: impl Fn(Label) -> bool) -> Rule<Term> {
        let gone: Vec<usize> = self.labels.iter().enumerate().filter(|(_, l)| !kept(**l)).map(|(i, _)| i).collect();
        let value = b.sum(self.value, &gone, false)?;
        Ok(Term { value, labels: self.labels.into_iter().filter(|&l| kept(l)).collect() })
    }

    /// With its axes in the order of `labels`.
    fn ordered(&self, b: &mut Builder, labels: &[Label]) -> Rule<ValueId> {
        let perm: Vec<usize> = labels.iter().filter_map(|l| self.labels.iter().position(|own| own == l)).collect();
        b.transpose(self.value, &perm)
    }

    fn dims(&self, b: &Builder, labels: &[Label]) -> Vec<Dim> {
        let dim = |l: &Label| self.labels.iter().position(|own| own == l).and_then(|i| b.shape(self.value).get(i).copied());
        labels.iter().filter_map(dim).collect()
    }
}

fn joined(dims: &[Dim]) -> Rule<Dim> {
    product(dims).ok_or_else(|| "it joins two axes that both depend on the batch size; rewrite with a fixed batch size".to_string())
}

/// The product of two terms, summed over what both have and `kept` says no to.
fn multiplied(b: &mut Builder, x: Term, y: Term, kept: impl Fn(Label) -> bool) -> Rule<Term> {
    let x = x.clone().summed(b, |l| kept(l) || y.labels.contains(&l))?;
    let y = y.clone().summed(b, |l| kept(l) || x.labels.contains(&l))?;
    let shared = |l: &Label| y.labels.contains(l);
    let pick = |of: &[Label], f: &dyn Fn(&Label) -> bool| of.iter().copied().filter(|l| f(l)).collect::<Vec<_>>();
    let batch = pick(&x.labels, &|l| shared(l) && kept(*l));
    let inner = pick(&x.labels, &|l| shared(l) && !kept(*l));
    let left = pick(&x.labels, &|l| !shared(l));
    let right = pick(&y.labels, &|l| !x.labels.contains(l));
    let labels = [&batch[..], &left, &right].concat();
    let (rows, columns) = (x.dims(b, &left), y.dims(b, &right));
    let lead = x.dims(b, &batch);
    let (vx, vy) = (x.ordered(b, &[&batch[..], &left, &inner].concat())?, y.ordered(b, &[&batch[..], &inner, &right].concat())?);
    if inner.is_empty() {
        let apart = vec![Dim::Known(1); right.len()];
        let vx = b.reshape(vx, &[&lead[..], &rows, &apart].concat())?;
        let vy = b.reshape(vy, &[&lead[..], &vec![Dim::Known(1); left.len()], &columns].concat())?;
        return Ok(Term { value: b.mul(vx, vy)?, labels });
    }
    let depth = joined(&x.dims(b, &inner))?;
    let vx = b.reshape(vx, &[&lead[..], &[joined(&rows)?, depth]].concat())?;
    let vy = b.reshape(vy, &[&lead[..], &[depth, joined(&columns)?]].concat())?;
    let value = b.matmul(vx, vy)?;
    Ok(Term { value: b.reshape(value, &[lead, rows, columns].concat())?, labels })
}

impl Operator for Einsum {
    fn op_type(&self) -> &'static str {
        "Einsum"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let equation = cx.string("equation", "")?;
        let values = (0..cx.inputs.len()).map(|i| cx.input(i)).collect::<Rule<Vec<_>>>()?;
        for &v in &values {
            floating(cx.graph.ty(v))?;
        }
        let ranks: Vec<usize> = values.iter().map(|&v| cx.graph.ty(v).rank()).collect();
        let (operands, result) = parse(&equation, &ranks)?;
        let mut sizes: BTreeMap<Label, Dim> = BTreeMap::new();
        for (&v, labels) in values.iter().zip(&operands) {
            for (&label, &dim) in labels.iter().zip(&cx.graph.ty(v).shape) {
                let size = sizes.entry(label).or_insert(dim);
                match (*size, dim) {
                    (a, b) if a == b => {}
                    (Dim::Known(1), other) => *size = other,
                    (_, Dim::Known(1)) => {}
                    (a, b) => return Err(format!("its equation `{equation}` gives one axis the lengths {a} and {b}")),
                }
            }
        }
        let mut b = cx.builder();
        let mut terms = vec![];
        for (value, labels) in values.into_iter().zip(operands) {
            // An axis of length 1 is repeated along the others' by leaving it away.
            let whole: Vec<bool> = labels.iter().zip(b.shape(value)).map(|(l, d)| sizes.get(l) == Some(d)).collect();
            let shape: Vec<Dim> = b.shape(value).iter().zip(&whole).filter(|(_, w)| **w).map(|(d, _)| *d).collect();
            let labels = labels.into_iter().zip(whole).filter(|(_, w)| *w).map(|(l, _)| l).collect();
            terms.push(Term { value: b.reshape(value, &shape)?, labels });
        }
        let mut rest = terms.into_iter();
        let mut all = rest.next().ok_or("it has no operands")?;
        while let Some(next) = rest.next() {
            let later: BTreeSet<Label> = rest.as_slice().iter().flat_map(|t| t.labels.clone()).chain(result.iter().copied()).collect();
            all = multiplied(&mut b, all, next, |l| later.contains(&l))?;
        }
        let all = all.summed(&mut b, |l| result.contains(&l))?;
        let value = all.ordered(&mut b, &result)?;
        cx.replaced = Some(vec![value]);
        Ok(())
    }

    fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
        imported_as("other operators")
    }

    fn notes(&self) -> &'static str {
        "any equation without an axis twice in one term; imported as Transpose, MatMul, Mul and ReduceSum"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_read() {
        let letter = Label::Letter;
        let (operands, result) = parse("b...i, ij -> ...bj", &[4, 2]).unwrap();
        assert_eq!(operands[0], [letter('b'), Label::More(1), Label::More(0), letter('i')]);
        assert_eq!(result, [Label::More(1), Label::More(0), letter('b'), letter('j')]);
        assert_eq!(parse("zi,ia", &[2, 2]).unwrap().1, [letter('a'), letter('z')]);
        for (equation, ranks) in [("ii->i", vec![2]), ("ij,jk", vec![2]), ("ij->k", vec![2]), ("i1->i", vec![2]), ("ij->i", vec![3])] {
            assert!(parse(equation, &ranks).is_err(), "{equation}");
        }
    }
}
