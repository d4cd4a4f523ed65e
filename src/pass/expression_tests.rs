//! Which elements are worked on together, with the table of kernels of [`super::native_tests`].

use super::native_tests::{ELEMENTS, KERNELS, channels_last, graph, text};
use super::{FuseExpressions, apply_verified};

/// What meets is one expression, unless somebody between its nodes waits for a part of it, or it would have too many inputs or results.
#[test]
fn elements_are_worked_on_together() {
    let cases: &[(&[&str], &[&str], &[&str])] = &[
        (
            &["a = Conv(x, w)", "b = Sigmoid(a)", "c = Mul(a, b)", "d = Mul(c, n)", "e = Conv(d, w)"],
            &["e"],
            &["a' = .Conv(x', w)", "d' = .Expression(a', n, channels, constants, results, steps)", "e' = .Conv(d', w)"],
        ),
        // Two results.
        (
            &["a = Conv(x, w)", "b = Sigmoid(a)", "c = Mul(a, b)", "e = Conv(c, w)"],
            &["e", "b"],
            &["a' = .Conv(x', w)", "b', c' = .Expression(a', channels, constants, results, steps)", "e' = .Conv(c', w)"],
        ),
        // A name alone is no step, and a single step no gain where nothing lies otherwise than the runtime's operators expect it.
        (
            &["a = Conv(x, w)", "b = Sigmoid(a)", "c = Identity(b)", "e = Conv(c, w)"],
            &["e"],
            &["a' = .Conv(x', w)", "c' = .Expression(a', channels, constants, results, steps)", "e' = .Conv(c', w)"],
        ),
        (
            &["a = Conv(x, w)", "b = Identity(a)", "e = Conv(b, w)"],
            &["e"],
            &["a' = .Conv(x', w)", "b' = Identity(a')", "e' = .Conv(b', w)"],
        ),
        (&["a = Conv(x, w)", "b = Sigmoid(y)"], &["a", "b"], &["a' = .Conv(x', w)", "b = Sigmoid(y)"]),
        // The convolution between them needs the first.
        (
            &["a = Conv(x, w)", "b = Sigmoid(a)", "c = Conv(b, w)", "d = Mul(b, c)"],
            &["d"],
            &[
                "a' = .Conv(x', w)",
                "b' = .Expression(a', channels, constants, results, steps)",
                "c' = .Conv(b', w)",
                "d' = .Expression(b', c', channels, constants, results, steps)",
            ],
        ),
        // More than it can read at once.
        (
            &["a = Conv(x, w)", "s = Sum(a, x, y, z)", "d = Mul(s, s)"],
            &["d"],
            &["a' = .Conv(x', w)", "s' = Sum(a', x', y', z')", "d' = .Expression(s', channels, constants, results, steps)"],
        ),
    ];
    for (lines, outputs, expected) in cases {
        let mut g = graph(lines, outputs);
        let fuse = FuseExpressions { elements: &ELEMENTS, kernels: KERNELS };
        apply_verified(&mut g, &[&channels_last(), &fuse]).unwrap();
        let found: Vec<String> = text(&g).into_iter().filter(|line| !line.contains(".ToChannels")).collect();
        assert_eq!(found, *expected, "of {lines:?}");
    }
}
