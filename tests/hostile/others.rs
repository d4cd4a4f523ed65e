//! Examples of operators that have no gradient.

use crate::cases::{Case, bare, on, scalar};
use spgraph::ir::{DType, Tensor};

pub fn cases() -> Vec<Case> {
    let x = [3, 4, 5];
    let indices = Tensor::from_i64(&[3], &[0, 2, 1]);
    let number = |v: i64| Tensor::from_i64(&[], &[v]);
    let yes = |shape: &[usize]| Tensor::from_bool(shape, &vec![true; shape.iter().product()]);
    let of = |op, a: Tensor| on(op, &x).fixed(a);
    let mut all = vec![
        bare("Not").fixed(yes(&[2])),
        bare("And").fixed(yes(&[2])).fixed(yes(&[1])),
        bare("Or").fixed(yes(&[2])).fixed(yes(&[1])),
        bare("Xor").fixed(yes(&[2])).fixed(yes(&[1])),
        bare("BitShift")
            .fixed(Tensor::from_vec(&[2], vec![1u64, 2]))
            .fixed(Tensor::from_vec(&[2], vec![63u64, 64]))
            .string("direction", "LEFT"),
        bare("Mod").list(&[7, -7]).list(&[3, 3]),
        bare("Div").list(&[7, -7]).list(&[3, 3]),
        bare("Add").list(&[7, -7]).list(&[3, 3]),
        bare("Sub").list(&[7, -7]).list(&[3, 3]),
        bare("Mul").list(&[7, -7]).list(&[3, 3]),
        bare("Neg").list(&[7, -7]),
        bare("Abs").list(&[7, -7]),
        bare("Pow").list(&[7, -7]).list(&[3, 2]),
        bare("Sum").list(&[7, -7]).list(&[3, 2]),
        bare("Max").list(&[7, -7]).list(&[3, 2]),
        bare("ReduceSum").list(&[7, -7]).list(&[0]),
        bare("ReduceProd").list(&[7, -7]).ints("axes", &[0]).at(13),
        bare("CumSum").list(&[7, -7]).fixed(number(0)),
        bare("Gather").list(&[7, -7]).list(&[1, 0]),
        bare("Slice").list(&[7, -7, 3]).list(&[0]).list(&[2]).list(&[0]).list(&[1]),
        bare("Concat").list(&[7, -7]).list(&[3]).int("axis", 0),
        bare("Cast").list(&[7, -7]).int("to", 6),
        bare("Tile").list(&[7, -7]).list(&[2]),
        bare("Expand").list(&[7]).list(&[3]),
        bare("Range").fixed(number(0)).fixed(number(6)).fixed(number(2)),
        bare("ConstantOfShape").list(&[2, 3]),
        bare("Constant").ints("value_ints", &[1, 2]),
        bare("Constant").int("value_int", 3),
        bare("OneHot").fixed(indices.clone()).fixed(number(3)).fixed(Tensor::from_f64(&[2], &[0.0, 1.0])).int("axis", -1),
        on("TopK", &x).list(&[2]).int("axis", 1).int("largest", 1).int("sorted", 1).outputs(&[true, false]),
        on("NonZero", &x),
        of("Compress", yes(&[2])).int("axis", 1),
        on("ArgMax", &x).int("axis", 1).int("keepdims", 1).int("select_last_index", 0),
        on("ArgMin", &x).int("axis", 1).int("keepdims", 1),
        on("Hardmax", &x).int("axis", 1),
        on("IsInf", &x).int("detect_negative", 0),
        on("IsNaN", &x),
        on("Shape", &x).int("start", 1).int("end", 3),
        on("Size", &x),
        on("EyeLike", &[3, 4]).int("k", 1).int("dtype", 1),
        on("Ceil", &x),
        on("Floor", &x),
        on("Round", &x),
        on("Sign", &x),
        on("CastLike", &x).fixed(indices.clone()).at(19),
        on("Bernoulli", &x).int("dtype", 1).at(15),
        on("Multinomial", &[3, 4]).int("sample_size", 2).int("dtype", 6),
        bare("RandomNormal").ints("shape", &[2, 3]).int("dtype", 1),
        bare("RandomUniform").ints("shape", &[2, 3]).int("dtype", 1),
        on("RandomNormalLike", &x).int("dtype", 1),
        on("RandomUniformLike", &x).int("dtype", 1),
        on("Flatten", &x).int("axis", 1),
        on("Dropout", &x).fixed(scalar(0.5)),
    ];
    for op in ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"] {
        all.push(of(op, Tensor::from_floats(DType::F32, &[5], &[0.5; 5])));
        all.push(bare(op).list(&[7, -7]).list(&[3, 2]));
    }
    all
}
