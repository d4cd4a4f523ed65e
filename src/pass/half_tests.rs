//! Images of bfloat16 between native kernels, with the table of kernels of [`super::native_tests`].

use super::native_tests::{ELEMENTS, KERNELS, channels_last, graph, text};
use super::{FuseExpressions, FuseKernels, HalfImages, Kernel, Pass, apply_verified};

/// With forms for bfloat16 of all kernels but the sums'.
fn halved(lines: &[&str], outputs: &[&str]) -> Vec<String> {
    let mut g = graph(lines, outputs);
    let half: &dyn Fn(&Kernel) -> bool = &|kernel| kernel.name != "Sums" && kernel.name != "Update";
    let passes: [&dyn Pass; 4] = [
        &channels_last(),
        &FuseKernels { kernels: KERNELS },
        &FuseExpressions { elements: &ELEMENTS, kernels: KERNELS },
        &HalfImages { kernels: KERNELS, half },
    ];
    apply_verified(&mut g, &passes).unwrap();
    text(&g)
}

#[test]
fn images_are_rounded_where_they_are_made() {
    assert_eq!(
        halved(&["a = Conv(x, w)", "b = Relu(a)", "d = Conv(b, w)"], &["d"]),
        ["x'' = .ToChannelsLastBf16(x)", "b'' = .ConvBf16(x'', w, relu)", "d'' = .ConvBf16(b'', w)", "d = .ToChannelsFirstBf16(d'')"]
    );
}

/// What is no image of an expression has a place of its own, behind those of images.
#[test]
fn numbers_of_expressions_stay_float32() {
    let lines = halved(&["a = Conv(x, w)", "b = Mul(a, n)", "c = Sigmoid(b)", "d = Conv(c, w)"], &["d"]);
    assert_eq!(lines[2], "c'' = .ExpressionBf16(a'', , , , n, channels, constants, results, steps)", "{lines:?}");
}

#[test]
fn kernels_without_a_form_get_their_images_widened() {
    let lines = halved(&["a = Conv(x, w)", "v = ReduceSum(a)", "d = Conv(a, w)"], &["v", "d"]);
    assert_eq!(
        lines,
        [
            "x'' = .ToChannelsLastBf16(x)",
            "a'' = .ConvBf16(x'', w)",
            "a' = Cast(a'', to)",
            "v = .Sums(a')",
            "d'' = .ConvBf16(a'', w)",
            "d = .ToChannelsFirstBf16(d'')",
        ]
    );
}
