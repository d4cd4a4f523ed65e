//! The library may be used from any number of threads: sessions with native kernels are made and run at the same time.
//!
//! ONNX Runtime's library must be there (`spgraph runtime install`, or ORT_DYLIB_PATH).

mod shared;

use spgraph::bundle::Options;
use spgraph::engine::{self, EngineChoice, EngineOptions, Kernels};
use spgraph::import::BatchSize;
use spgraph::ir::Tensor;

const THREADS: usize = 8;
const SESSIONS: usize = 1000;

#[test]
fn eight_threads_make_a_thousand_sessions() {
    let (_work, bundle) = shared::bundle("basic.bn.onnx", &Options { batch: BatchSize::Fixed(1), ..Options::default() });
    let model = bundle.eval();
    let options = EngineOptions { choice: EngineChoice::Ort, threads: Some(1), kernels: Kernels::Native, ..Default::default() };
    let together = std::sync::Barrier::new(THREADS);
    let run = |rounds: usize| -> Vec<Vec<f64>> {
        let engine = engine::open(&options).unwrap();
        together.wait();
        let state = spgraph::bundle::start_state(&bundle).unwrap();
        (0..rounds)
            .map(|_| {
                let mut session = engine.load(&model).unwrap();
                let ports: Vec<String> = session.signature().inputs.iter().map(|p| p.name.clone()).collect();
                let image: Vec<usize> = bundle.manifest.data.input.shape.iter().map(|&d| d as usize).collect();
                let count = image.iter().product();
                let values: Vec<f32> = (0..count).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
                let image = Tensor::from_f32(&image, &values);
                let feeds: Vec<(&str, &Tensor)> = ports
                    .iter()
                    .map(|name| {
                        let known = bundle.manifest.state.iter().zip(&state).find(|(s, _)| s.input == *name);
                        (name.as_str(), known.map_or(&image, |(_, value)| value))
                    })
                    .collect();
                session.run(&feeds).unwrap()[0].to_f64().unwrap()
            })
            .collect()
    };
    let all: Vec<Vec<Vec<f64>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| run(SESSIONS / THREADS))).collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let first = &all[0][0];
    assert!(first.iter().all(|v| v.is_finite()));
    assert!(all.iter().flatten().all(|scores| scores == first), "sessions gave different numbers");
}
