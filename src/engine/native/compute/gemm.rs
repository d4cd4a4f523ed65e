//! Products by the `gemm` crate.

/// `c = a·b`, or `c += a·b`: `c` is `[m, n]` and `b` `[k, n]` with the given distance between rows, `a` is `[m, k]` with distances
/// between rows and between columns.
pub fn multiply(
    m: usize,
    n: usize,
    k: usize,
    (c, c_row): (&mut [f32], usize),
    (a, a_row, a_column): (&[f32], usize, usize),
    (b, b_row): (&[f32], usize),
    add: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(c.len() > (m - 1) * c_row + n - 1);
    if k == 0 {
        if !add {
            c.chunks_mut(c_row).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    assert!(a.len() > (m - 1) * a_row + (k - 1) * a_column && b.len() > (k - 1) * b_row + n - 1);
    // SAFETY: all elements that the distances lead to are inside the slices, by the assertions above.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_row as isize,
            add,
            a.as_ptr(),
            a_column as isize,
            a_row as isize,
            b.as_ptr(),
            1,
            b_row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}
