//! Cases of products in Einstein's notation, and of matrix products of all shapes.

use super::cases::{Case, on};

pub fn cases() -> Vec<Case> {
    [einsum(), matmul()].into_iter().flatten().collect()
}

fn einsum() -> Vec<Case> {
    let two = |equation: &str, a: &[usize], b: &[usize]| on("Einsum", a).and(b).string("equation", equation);
    vec![
        two("ij,jk->ik", &[3, 4], &[4, 5]),
        two("bij,bjk->bik", &[2, 3, 4], &[2, 4, 5]).fixed_batch(),
        two("bhid,bhjd->bhij", &[2, 3, 4, 5], &[2, 3, 2, 5]).fixed_batch(),
        two("B G H I D, J D -> B G H I J", &[2, 2, 3, 4, 5], &[3, 5]),
        two("nchw,oc->nohw", &[2, 3, 4, 5], &[6, 3]),
        two("...i,ij->...j", &[2, 3, 4], &[4, 5]),
        two("...ij,...jk->...ik", &[2, 1, 3, 4], &[5, 4, 2]),
        two("b...,...->b...", &[2, 3, 4], &[3, 4]),
        two("nij,ji->n", &[2, 3, 4], &[4, 3]),
        two("nij,nij->", &[2, 3, 4], &[2, 3, 4]).fixed_batch(),
        two("nia,njb->ij", &[2, 3, 4], &[2, 5, 2]).fixed_batch(),
        two("zi,ia", &[3, 4], &[4, 5]),
        two("nic,ij->njc", &[2, 3, 1], &[3, 4]),
        two("nj,ij->ni", &[3, 1], &[2, 4]),
        on("Einsum", &[3, 4, 5]).string("equation", "nij->jn"),
        on("Einsum", &[3, 4, 5]).string("equation", "n..."),
        on("Einsum", &[3, 4]).and(&[4, 5]).and(&[5, 2]).string("equation", "ni,ij,jk->nk"),
        on("Einsum", &[3, 4]).and(&[3, 4]).and(&[4]).string("equation", "ni,ni,i->n").fixed_batch(),
    ]
}

fn matmul() -> Vec<Case> {
    vec![
        on("MatMul", &[2, 1, 3, 4]).and(&[5, 4, 2]),
        on("MatMul", &[3, 4]).and(&[2, 4, 5]).fixed_batch(),
        on("MatMul", &[2, 3, 4]).and(&[1, 4, 5]),
        on("MatMul", &[1, 3, 4]).and(&[2, 4, 5]).fixed_batch(),
        on("MatMul", &[3, 4]).and(&[4]),
        on("MatMul", &[2, 3, 4]).and(&[4]),
        on("Gemm", &[3, 4]).and(&[4, 5]).and(&[3, 5]).float("alpha", -0.5).float("beta", 3.0).fixed_batch(),
        on("Gemm", &[3, 4]).and(&[4, 5]).and(&[]).float("beta", 0.5),
        on("Gemm", &[3, 4]).and(&[5, 4]).and(&[1, 5]).float("alpha", 2.0).int("transB", 1),
        on("Gemm", &[4, 3]).and(&[4, 5]).and(&[3, 1]).int("transA", 1).float("alpha", 2.0).fixed_batch(),
        on("Gemm", &[3, 4]).and(&[4, 5]).and(&[5]).float("beta", 0.0),
        on("Gemm", &[3, 4]).and(&[4, 5]).and(&[5]).at(7),
    ]
}
