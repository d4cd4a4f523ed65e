//! Exports that take decoded images, for every convention a network may have, on every runtime.

use crate::support::{Lab, fixture};
use spgraph::engine::{self, EngineChoice, EngineOptions, Kernels};
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::{self, pb};

/// The probabilities of an exported file for a decoded image.
fn probabilities(lab: &Lab, choice: EngineChoice, image: &image::RgbImage) -> Vec<f64> {
    let engine = engine::open(&EngineOptions { choice, kernels: Kernels::Standard, ..EngineOptions::default() }).unwrap();
    let mut session = engine.load(&lab.path("app.onnx")).unwrap();
    let shape = vec![1, image.height() as usize, image.width() as usize, 3];
    let input = Tensor::new(DType::U8, shape, image.as_raw().clone()).unwrap();
    let place = session.signature().outputs.iter().position(|o| o.name == "probabilities").unwrap();
    session.run(&[("images", &input)]).unwrap()[place].to_f64().unwrap()
}

/// The network with weights, input and output in half precision.
fn halved(from: &str, to: &std::path::Path) {
    let mut proto = onnx::read(from).unwrap().proto;
    let graph = proto.graph.as_mut().unwrap();
    for tensor in graph.initializer.iter_mut().filter(|t| t.data_type() == DType::F32.onnx()) {
        let raw = tensor.raw_data.take().unwrap();
        let narrow = raw.chunks_exact(4).flat_map(|b| half::f16::from_f32(f32::from_le_bytes(b.try_into().unwrap())).to_le_bytes());
        tensor.raw_data = Some(narrow.collect::<Vec<u8>>().into());
        tensor.data_type = Some(10);
    }
    let ports = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    for port in ports {
        if let Some(pb::type_proto::Value::TensorType(t)) = port.r#type.as_mut().and_then(|t| t.value.as_mut())
            && t.elem_type() == DType::F32.onnx()
        {
            t.elem_type = Some(10);
        }
    }
    onnx::write(to, &proto).unwrap();
}

#[test]
fn a_decoded_image_gets_the_same_answer_for_every_convention_and_runtime() {
    let lab = Lab::new();
    halved(&fixture("conventions/nchw.onnx"), &lab.path("half.onnx"));
    lab.run(&["new", "resnet20", "--classes", "3", "--input", "1x16x16", "-o", "grey.onnx"]).ok();
    let given = |name: &str| fixture(&format!("conventions/{name}.onnx"));
    let scaled = ["--mean", "0.4,0.5,0.6", "--std", "0.2,0.3,0.25"];
    let cases: [(&str, String, Vec<&str>); 8] = [
        ("channels first", given("nchw"), scaled.to_vec()),
        ("channels last", given("nhwc"), scaled.to_vec()),
        ("blue first", given("bgr"), [&scaled[..], &["--channels", "bgr"]].concat()),
        ("numbers to 255", given("raw"), vec!["--scale", "255", "--mean", "120,110,100", "--std", "60,58,57"]),
        ("bytes", given("bytes"), vec!["--channels", "rgb"]),
        ("bytes with channels last", given("bytes_nhwc"), vec!["--channels", "bgr"]),
        ("half precision", lab.path("half.onnx").display().to_string(), scaled.to_vec()),
        ("grey", lab.path("grey.onnx").display().to_string(), vec!["--mean", "0.45", "--std", "0.22"]),
    ];
    for (what, model, flags) in cases {
        let bundle = ["rewrite", model.as_str(), "--batch", "2", "--force", "-o", "b"];
        lab.run(&[&bundle[..], &flags].concat()).ok();
        let export = ["export", "b", "--preprocess", "--softmax", "--force", "-o", "app.onnx"];
        let said = lab.run(&export).ok();
        assert!(said.contains("preprocessing  within"), "{what}: {said}");
        for (width, height) in [(8, 8), (31, 20), (11, 40)] {
            let image = image::RgbImage::from_fn(width, height, |x, y| {
                image::Rgb([(x * 11 + y * 5) as u8, (x * 3 + 17 * y) as u8, ((x + y) * 9) as u8])
            });
            image.save(lab.path("i.png")).unwrap();
            let args = ["predict", "b", "i.png", "--json", "--top", "100", "--engine", "ort", "--kernels", "standard"];
            let json = lab.run(&args).json();
            let guesses = json[0]["guesses"].as_array().unwrap();
            for choice in [EngineChoice::Ort, EngineChoice::Tract] {
                let found = probabilities(&lab, choice, &image);
                assert_eq!(found.len(), guesses.len(), "{what}");
                for guess in guesses {
                    let label = guess["label"].as_u64().unwrap() as usize;
                    let expected = guess["probability"].as_f64().unwrap();
                    // A pixel may be rounded to its neighbour.
                    assert!((found[label] - expected).abs() < 2e-2, "{what}, {choice:?}, {width}×{height}: {found:?}, {guesses:?}");
                }
            }
        }
    }
}
