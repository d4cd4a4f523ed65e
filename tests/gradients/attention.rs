//! Cases of attention and of rotated positions.

use super::cases::{Case, bare, on};
use spgraph::ir::{DType, Tensor};

pub fn cases() -> Vec<Case> {
    [attention(), rotary()].into_iter().flatten().collect()
}

/// A mask that leaves the first key of every query open.
fn open(shape: &[usize], every: usize) -> Tensor {
    let (count, keys) = (shape.iter().product::<usize>(), shape[shape.len() - 1]);
    Tensor::new(DType::Bool, shape.to_vec(), (0..count).map(|i| u8::from(i % keys == 0 || i % every != 0)).collect::<Vec<_>>()).unwrap()
}

fn attention() -> Vec<Case> {
    let heads =
        |q: &[usize], kv: &[usize]| bare("Attention").within(q, -1.0, 1.0).within(kv, -1.0, 1.0).within(kv, -1.0, 1.0).at(24).fixed_batch();
    let same = || heads(&[2, 2, 3, 4], &[2, 2, 5, 4]);
    let flat = |q: i64, kv: i64| {
        let width = |n: i64| 4 * n as usize;
        heads(&[2, 3, width(q)], &[2, 5, width(kv)]).int("q_num_heads", q).int("kv_num_heads", kv)
    };
    let endless = f64::NEG_INFINITY;
    vec![
        same(),
        same().float("scale", 0.7).at(23),
        same().float("softcap", 1.5),
        same().int("is_causal", 1),
        same().int("is_causal", 1).float("softcap", 2.0).and(&[3, 5]),
        same().within(&[2, 2, 3, 5], -1.0, 1.0),
        same().within(&[1, 3, 5], -1.0, 1.0).int("is_causal", 1),
        same().exactly(open(&[3, 5], 3)),
        same().exactly(open(&[2, 1, 3, 5], 2)).int("is_causal", 1),
        // The last two keys are behind the mask, and one query sees none.
        same().exactly(open(&[3, 3], 4)),
        same().exactly(Tensor::new(DType::Bool, vec![3, 5], [[1; 5], [0; 5], [1; 5]].concat()).unwrap()),
        same().fixed(Tensor::from_floats(DType::F64, &[3, 5], &[[0.0, endless, 0.3, endless, 1.0], [endless; 5], [0.5; 5]].concat())),
        same().int("left_window_size", 1).int("right_window_size", 2).at(25),
        heads(&[2, 4, 3, 4], &[2, 2, 5, 4]),
        bare("Attention").and(&[2, 2, 3, 4]).and(&[2, 2, 5, 4]).and(&[2, 2, 5, 6]).at(23).fixed_batch(),
        flat(2, 2),
        flat(4, 2).int("is_causal", 1),
        flat(2, 1).float("scale", 1.3).int("softmax_precision", 1),
    ]
}

/// In float32 alone: `tests/python/test_newer_operators.py` holds the gradient against that of the network with the rotation written out.
fn rotary() -> Vec<Case> {
    let table = |case: Case, shape: &[usize]| case.and(shape).and(shape).at(23).fixed_batch().single();
    let rotary = |x: &[usize], shape: &[usize]| table(on("RotaryEmbedding", x), shape);
    let places = |rows: usize, list: &[i64]| Tensor::from_i64(&[rows, list.len()], &list.repeat(rows));
    vec![
        rotary(&[2, 3, 4, 8], &[7, 4]).exactly(places(2, &[0, 1, 2, 3])),
        rotary(&[2, 3, 4, 8], &[7, 4]).exactly(places(1, &[5, 0, 5, 2])).int("interleaved", 1),
        rotary(&[2, 3, 4, 8], &[2, 4, 4]),
        rotary(&[2, 3, 4, 8], &[1, 4, 2]).int("rotary_embedding_dim", 4),
        rotary(&[2, 3, 4, 8], &[1, 4, 3]).int("rotary_embedding_dim", 6).int("interleaved", 1),
        rotary(&[2, 5, 12], &[1, 5, 3]).int("num_heads", 2),
    ]
}
