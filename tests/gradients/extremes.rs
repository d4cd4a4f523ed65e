//! Far from 0: values and slopes are finite and PyTorch's, where a formula could overflow.

use super::cases::{Case, on};
use super::shared::engine;
use super::{emitted, load};
use spgraph::engine::EngineChoice;
use spgraph::ir::{DType, Tensor};

/// Values, and the gradient of their sum, at −200 and 200, on both engines in float32.
fn check(case: Case, values: [f64; 2], slopes: [f64; 2]) {
    check_on(&[EngineChoice::Tract, EngineChoice::Ort], case, values, slopes);
}

fn check_on(engines: &[EngineChoice], case: Case, values: [f64; 2], slopes: [f64; 2]) {
    let x = Tensor::from_floats(DType::F32, &[1, 2], &[-200.0, 200.0]);
    let emitted = emitted(&case, std::slice::from_ref(&x), &[0], false).unwrap();
    let one = Tensor::from_floats(DType::F32, &[1, 2], &[1.0, 1.0]);
    for &choice in engines {
        let results = load(&*engine(choice), &emitted).unwrap().run(&[(&emitted.inputs[0], &x), (&emitted.seeds[0].0, &one)]).unwrap();
        for (found, expected) in results.iter().zip([values, slopes]) {
            let found = found.to_f64().unwrap();
            let close = found.iter().zip(expected).all(|(f, e)| (f - e).abs() <= 1e-6 * e.abs().max(1.0));
            assert!(close, "{} on {choice:?}: {found:?}, PyTorch gives {expected:?}", case.label());
        }
    }
}

#[test]
fn activations() {
    let x = &[1, 2];
    check(on("Softplus", x), [0.0, 200.0], [0.0, 1.0]);
    check(on("Mish", x).at(18), [0.0, 200.0], [0.0, 1.0]);
    // tract's sigmoid and tanh in float32 are off by up to 5e-7, which 200 times is no longer small.
    check_on(&[EngineChoice::Ort], on("Gelu", x).string("approximate", "tanh").at(20), [0.0, 200.0], [0.0, 1.0]);
    check_on(&[EngineChoice::Ort], on("Swish", x).at(24), [0.0, 200.0], [0.0, 1.0]);
    check(on("Gelu", x).at(20), [0.0, 200.0], [0.0, 1.0]);
    check(on("Elu", x), [-1.0, 200.0], [0.0, 1.0]);
    check(on("Celu", x), [-1.0, 200.0], [0.0, 1.0]);
    check(on("Selu", x), [-1.7580993408473766, 210.14019747], [0.0, 1.0507009873554805]);
    check(on("Sigmoid", x), [0.0, 1.0], [0.0, 0.0]);
    check_on(&[EngineChoice::Ort], on("Tanh", x), [-1.0, 1.0], [0.0, 0.0]);
    check(on("Atan", x), [-1.5657963684609384, 1.5657963684609384], [2.499937501562461e-05; 2]);
}
