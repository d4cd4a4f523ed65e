//! Cases of operators that pick and place by constant indices.

use super::cases::{Case, on};
use super::shared::Random;
use spgraph::ir::Tensor;

pub fn cases() -> Vec<Case> {
    [written(), drawn(), triangles()].into_iter().flatten().collect()
}

fn indices(shape: &[usize], list: &[i64]) -> Tensor {
    Tensor::from_i64(shape, list)
}

fn written() -> Vec<Case> {
    let x = [3, 4, 5];
    vec![
        on("Gather", &x).fixed(indices(&[6], &[3, 0, 0, 2, 3, 3])).int("axis", 1),
        on("Gather", &x).fixed(indices(&[2, 2, 2], &[4, -1, 4, 4, 1, 4, 4, 4])).int("axis", -1),
        // One index much more often than the others.
        on("Gather", &[2, 40]).fixed(indices(&[90], &(0..90).map(|i| if i < 70 { 7 } else { i - 60 }).collect::<Vec<_>>())).int("axis", 1),
        on("Gather", &[2, 3]).fixed(indices(&[700], &[1; 700])).int("axis", 1),
        on("Gather", &[2, 3]).fixed(indices(&[0], &[])).int("axis", 1),
        on("GatherND", &x).fixed(indices(&[2, 2], &[0, 1, 2, -1])).fixed_batch(),
        on("GatherND", &x).fixed(indices(&[2, 1, 3], &[0, 1, 2, -1, -1, -1])).fixed_batch(),
        on("GatherND", &x).fixed(indices(&[3, 2, 1], &[0, 1, 2, -1, 0, 0])).int("batch_dims", 1).fixed_batch(),
        on("GatherND", &[1, 4, 5]).fixed(indices(&[1, 3, 1], &[0, -1, 0])).int("batch_dims", 1),
        on("GatherND", &[1, 4, 5]).fixed(indices(&[1, 3, 2], &[0, 2, 0, 2, 0, 1])),
        on("GatherND", &x).fixed(indices(&[3, 4, 2, 1], &(0..24).map(|i| i % 5).collect::<Vec<_>>())).int("batch_dims", 2).fixed_batch(),
        on("GatherElements", &x).fixed(indices(&[3, 2, 5], &(0..30).map(|i| i % 4 - 2).collect::<Vec<_>>())).int("axis", 1).fixed_batch(),
        on("GatherElements", &x)
            .fixed(indices(&[2, 1, 7], &(0..14).map(|i| i % 5).collect::<Vec<_>>()))
            .int("axis", -1)
            .at(11)
            .fixed_batch(),
        on("GatherElements", &[1, 4, 5]).fixed(indices(&[1, 3, 2], &[0, 1, 2, 3, 3, 3])).int("axis", 1),
        on("ScatterND", &x).fixed(indices(&[2, 1], &[2, 0])).and(&[2, 4, 5]).fixed_batch(),
        on("ScatterND", &x).fixed(indices(&[2, 2], &[2, 0, -1, -1])).and(&[2, 5]).fixed_batch(),
        on("ScatterND", &x).fixed(indices(&[2, 2, 3], &[2, 0, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0])).and(&[2, 2]).fixed_batch(),
        on("ScatterND", &x).fixed(indices(&[3, 1], &[0, 0, 2])).and(&[3, 4, 5]).string("reduction", "add").fixed_batch(),
        on("ScatterND", &[1, 4, 5]).fixed(indices(&[1, 2, 2], &[0, 3, 0, 1])).and(&[1, 2, 5]),
        on("ScatterND", &[1, 4, 5]).fixed(indices(&[1, 3, 2], &[0, 3, 0, 1, 0, 3])).and(&[1, 3, 5]).string("reduction", "add"),
        on("ScatterElements", &x)
            .fixed(indices(&[2, 2, 5], &(0..20).map(|i| i / 5 - 4).collect::<Vec<_>>()))
            .and(&[2, 2, 5])
            .int("axis", 1)
            .fixed_batch(),
        on("ScatterElements", &x)
            .fixed(indices(&[3, 1, 2], &[0, 0, 4, 1, 2, 2]))
            .and(&[3, 1, 2])
            .int("axis", 2)
            .string("reduction", "add")
            .at(18)
            .fixed_batch(),
        on("ScatterElements", &[1, 6]).fixed(indices(&[1, 2], &[5, 1])).and(&[1, 2]).int("axis", 1).at(11),
        on("Scatter", &[4, 3]).fixed(indices(&[2, 3], &[0, 1, 2, 3, 3, 3])).and(&[2, 3]).at(9).fixed_batch(),
    ]
}

/// Shapes and indices by chance.
fn drawn() -> Vec<Case> {
    let mut random = Random::new(5);
    let mut pick = |below: usize| (random.list(1, 0.0, below as f64)[0] as usize).min(below - 1);
    let mut cases = vec![];
    for _ in 0..12 {
        let shape: Vec<usize> = (0..2 + pick(3)).map(|_| 1 + pick(4)).collect();
        let rank = shape.len();
        let axis = 1 + pick(rank - 1);
        let signed = |i: usize, size: usize, back: bool| i as i64 - if back { size as i64 } else { 0 };
        let count = 1 + pick(9);
        let list: Vec<i64> = (0..count).map(|_| signed(pick(shape[axis]), shape[axis], pick(2) == 1)).collect();
        cases.push(on("Gather", &shape).fixed(indices(&[count], &list)).int("axis", axis as i64));

        let width = 1 + pick(rank);
        let tuples: Vec<i64> = (0..count * width).map(|i| signed(pick(shape[i % width]), shape[i % width], pick(2) == 1)).collect();
        let tuples = indices(&[count, width], &tuples);
        let updates = [&[count], &shape[width..]].concat();
        cases.push(on("GatherND", &shape).fixed(tuples.clone()).fixed_batch());
        cases.push(on("ScatterND", &shape).fixed(tuples).and(&updates).string("reduction", "add").fixed_batch());

        let part: Vec<usize> = shape.iter().enumerate().map(|(i, &n)| if i == axis { 1 + pick(5) } else { 1 + pick(n) }).collect();
        let places: Vec<i64> = (0..part.iter().product()).map(|_| pick(shape[axis]) as i64).collect();
        let places = indices(&part, &places);
        cases.push(on("GatherElements", &shape).fixed(places.clone()).int("axis", axis as i64).fixed_batch());
        cases
            .push(on("ScatterElements", &shape).fixed(places).and(&part).int("axis", axis as i64).string("reduction", "add").fixed_batch());
    }
    cases
}

fn triangles() -> Vec<Case> {
    let x = [3, 4, 5];
    let number = |v: i64| Tensor::from_i64(&[], &[v]);
    vec![
        on("Trilu", &x),
        on("Trilu", &x).int("upper", 0),
        on("Trilu", &x).fixed(number(-2)),
        on("Trilu", &x).fixed(number(2)).int("upper", 0),
        on("Trilu", &x).fixed(number(9)),
        on("CumSum", &x).fixed(number(1)),
        on("CumSum", &x).fixed(number(-1)).int("exclusive", 1),
        on("CumSum", &x).fixed(number(1)).int("reverse", 1),
        on("CumSum", &x).fixed(number(2)).int("exclusive", 1).int("reverse", 1),
        on("Compress", &x).fixed(Tensor::from_bool(&[3], &[true, false, true])).int("axis", 1),
        on("Compress", &x).fixed(Tensor::from_bool(&[5], &[false, true, true, false, true])).int("axis", -1),
        on("Compress", &x).fixed(Tensor::from_bool(&[6], &[false, true, true, false, true, true])).fixed_batch(),
    ]
}
