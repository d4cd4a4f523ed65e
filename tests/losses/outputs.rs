//! Networks with several outputs: the classifier's is found, or chosen by name, or the network is refused with the candidates.

use super::models::{CLASSES, Net, int, list, step};
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::Role;
use spgraph::bundle::{Bundle, HeadOption, Options};
use spgraph::import::BatchSize;
use spgraph::onnx::{self, pb};
use spgraph::train::{RunState, Subject, export_tuned};

fn options() -> Options {
    Options { batch: BatchSize::Fixed(4), lr: Some(0.5), ..Options::default() }
}

/// `features`, `z`, probabilities `p` of it, `aux` from another classifier, the label `best`, and a mask of them all.
fn net(outputs: &[&str]) -> Net {
    let k = CLASSES as i64;
    let mut net = Net::new();
    net.node("Softmax", &["z"], "p", vec![int("axis", 1)]);
    net.linear("features", "aux", CLASSES, 3, 7);
    net.node("Sigmoid", &["z"], "s", vec![]);
    for name in outputs {
        net.output(name, &[0, if *name == "aux" { 3 } else { k }]);
    }
    net
}

fn permutations(list: &[&'static str]) -> Vec<Vec<&'static str>> {
    if list.len() < 2 {
        return vec![list.to_vec()];
    }
    (0..list.len())
        .flat_map(|i| {
            let mut rest = list.to_vec();
            let first = rest.remove(i);
            permutations(&rest).into_iter().map(move |p| [vec![first], p].concat())
        })
        .collect()
}

#[test]
fn a_clear_classifier_is_found_in_any_order() {
    let expected = step(&net(&["z"]), &options()).unwrap();
    for set in [&["z", "p"][..], &["features", "z"], &["features", "p"], &["features", "z", "p"]] {
        for order in permutations(set) {
            assert_eq!(step(&net(&order), &options()).unwrap(), expected, "{order:?}");
        }
    }
}

#[test]
fn several_classifiers_are_refused_and_chosen_by_name() {
    let [z, aux] = ["z", "aux"].map(|name| step(&net(&[name]), &options()).unwrap());
    let bce = step(&net(&["s"]), &options()).unwrap();
    for set in [&["z", "aux"][..], &["aux", "features", "p"], &["p", "s"], &["hidden", "z"], &["hidden", "features"]] {
        for order in permutations(set) {
            let refusal = step(&net(&order), &options()).unwrap_err();
            assert!(order.iter().all(|name| refusal.contains(&format!("`{name}`"))), "{refusal}");
            assert!(refusal.contains("option `prediction` NAME"), "{refusal}");
            for (name, expected) in [("z", &z), ("p", &z), ("aux", &aux), ("s", &bce)] {
                if order.contains(&name) {
                    let chosen = Options { prediction: Some(name.into()), ..options() };
                    assert_eq!(step(&net(&order), &chosen).unwrap(), *expected, "{name} of {order:?}");
                }
            }
        }
    }
    let unknown = Options { prediction: Some("logits".into()), ..options() };
    let refusal = step(&net(&["z", "aux"]), &unknown).unwrap_err();
    assert!(refusal.contains("logits is no output") && refusal.contains("`aux` float32[N, 3] (Gemm `/aux/Gemm`)"), "{refusal}");
    let refusal = step(&net(&["features", "flat"]), &options()).unwrap_err();
    assert!(refusal.contains("is not clear") && refusal.contains("no layer right before it"), "{refusal}");
}

fn declared(model: &pb::ModelProto) -> Vec<(String, Vec<String>)> {
    use pb::tensor_shape_proto::dimension::Value;
    let shape = |info: &pb::ValueInfoProto| {
        let Some(pb::type_proto::Value::TensorType(t)) = info.r#type.as_ref().unwrap().value.as_ref() else { panic!() };
        let dim = |d: &pb::tensor_shape_proto::Dimension| match &d.value {
            Some(Value::DimValue(n)) => n.to_string(),
            Some(Value::DimParam(p)) => p.clone(),
            None => "?".into(),
        };
        t.shape.as_ref().unwrap().dim.iter().map(dim).collect()
    };
    model.graph.as_ref().unwrap().output.iter().map(|o| (o.name().to_string(), shape(o))).collect()
}

/// Features as many as classes, and shapes with the number of classes behind the classifier.
#[test]
fn a_new_head_declares_every_output_as_it_is() {
    let k = CLASSES as i64;
    let mut net = net(&["features", "p"]);
    let wide = net.then("z", "Reshape", vec![], &[list(&[-1, k, 1, 1])]);
    let again = net.then(&wide, "Reshape", vec![], &[list(&[0, k])]);
    net.output(&wide, &[0, k, 1, 1]).output(&again, &[0, k]);
    let work = tempfile::tempdir().unwrap();
    let (model, dir, out) = (work.path().join("net.onnx"), work.path().join("bundle"), work.path().join("out.onnx"));
    net.write(&model);
    let options = Options { head: HeadOption::Classes(7), ..options() };
    make_bundle(&model, &dir, &options, false).unwrap();
    let bundle = Bundle::open(&dir).unwrap();
    export_tuned(&Subject::open(&dir).unwrap(), RunState::Final, &out, false).unwrap();
    let found = declared(&onnx::open(&out).unwrap().proto);
    let shapes: Vec<Vec<&str>> = found.iter().map(|(_, s)| s.iter().map(String::as_str).collect()).collect();
    assert_eq!(shapes, [vec!["batch", "5"], vec!["batch", "7"], vec!["batch", "7", "1", "1"], vec!["batch", "7"]]);
    let ports = &bundle.manifest.prediction.unwrap();
    assert_eq!((ports.output.as_str(), ports.loss.as_str(), bundle.manifest.class_count), ("p", "cross-entropy", Some(7)));
}

/// A linear layer that a rectifier or a sum of branches follows computes features.
#[test]
fn no_classifier_is_taken_from_the_middle_of_a_network() {
    let options = Options { head: HeadOption::Classes(3), ..options() };
    let refusal = step(&net(&["features"]), &options).unwrap_err();
    assert!(refusal.contains("Relu `/features/Relu`"), "{refusal}");
    let mut residual = Net::new();
    let sum = residual.both("Add", "z", "features");
    residual.output(&sum, &[0, CLASSES as i64]);
    let refusal = step(&residual, &options).unwrap_err();
    assert!(refusal.contains("Add"), "{refusal}");
}

/// A backbone gets a classifier behind its features, which is trained and exported.
#[test]
fn a_head_is_added_to_features() {
    let options = Options { head: HeadOption::Classes(4), add_head: true, ..options() };
    let refusal = step(&net(&["features", "flat"]), &options).unwrap_err();
    assert!(refusal.contains("`features` float32[N, 5]") && refusal.contains("option `prediction`"), "{refusal}");
    let named = Options { prediction: Some("features".into()), ..options.clone() };
    for (outputs, options, index) in [(&["features"][..], &options, 0), (&["p", "features"], &named, 1)] {
        let work = tempfile::tempdir().unwrap();
        let (model, dir, out) = (work.path().join("net.onnx"), work.path().join("bundle"), work.path().join("out.onnx"));
        net(outputs).write(&model);
        make_bundle(&model, &dir, options, false).unwrap();
        export_tuned(&Subject::open(&dir).unwrap(), RunState::Final, &out, false).unwrap();
        let found = declared(&onnx::open(&out).unwrap().proto);
        assert_eq!(found[index], ("logits".to_string(), vec!["batch".to_string(), "4".to_string()]));
        let m = Bundle::open(&dir).unwrap().manifest;
        let new: Vec<&str> = m.state.iter().filter(|s| s.role == Role::New).map(|s| s.name.as_str()).collect();
        assert_eq!((new, m.class_count), (vec!["head.weight", "head.bias"], Some(4)));
        // The linear layer is the one that a network written with it would have.
        let mut whole = net(outputs);
        let proto = onnx::open(&out).unwrap().proto.graph.unwrap();
        whole.initializers.extend(proto.initializer.iter().filter(|t| t.name().starts_with("head.")).cloned());
        whole.node("Gemm", &["features", "head.weight", "head.bias"], "logits", vec![int("transB", 1)]);
        whole.outputs[index] = ("logits".into(), vec![0, 4]);
        let kept = Options { prediction: Some("logits".into()), head: HeadOption::Keep, add_head: false, ..options.clone() };
        let losses = |found: Vec<(String, Vec<f64>)>| found.into_iter().find(|(name, _)| name == "data_loss").unwrap();
        assert_eq!(losses(step(&net(outputs), options).unwrap()), losses(step(&whole, &kept).unwrap()));
    }
}
