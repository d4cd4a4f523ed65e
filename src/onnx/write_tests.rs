use super::super::attributes::{attr_ints, attr_tensor};
use super::super::read::{open, read};
use super::super::tensor::to_proto;
use super::*;
use crate::ir::Tensor;

fn ramp(n: usize, from: f32) -> Tensor {
    Tensor::from_f32(&[n], &(0..n).map(|i| from + i as f32).collect::<Vec<_>>())
}

/// A model that has something in every kind of field.
fn model() -> pb::ModelProto {
    let prop = |k: &str| pb::StringStringEntryProto { key: Some(k.into()), value: Some("ä".into()) };
    let node = pb::NodeProto {
        input: vec!["x".into(), String::new(), "w".into()],
        output: vec!["y".into()],
        op_type: Some("Conv".into()),
        attribute: vec![attr_ints("pads", [1, -1, i64::MAX]), attr_tensor("value", to_proto("", &ramp(100, 0.5)))],
        ..Default::default()
    };
    let function = pb::FunctionProto { name: Some("F".into()), node: vec![node.clone()], ..Default::default() };
    let typed = pb::TensorProto {
        name: Some("typed".into()),
        data_type: Some(1),
        dims: vec![600],
        float_data: vec![1.5; 600],
        ..Default::default()
    };
    pb::ModelProto {
        ir_version: Some(8),
        producer_name: Some("spgraph".into()),
        opset_import: vec![pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        metadata_props: vec![prop("a"), prop("b")],
        functions: vec![function],
        graph: Some(pb::GraphProto {
            name: Some("g".into()),
            input: vec![pb::ValueInfoProto { name: Some("x".into()), ..Default::default() }],
            node: vec![node],
            initializer: vec![
                to_proto("w", &ramp(300_000, 1.0)),
                to_proto("axes", &Tensor::from_i64(&[2], &[0, 1])),
                typed,
                to_proto("equal", &ramp(300_000, 1.0)),
                to_proto("mid", &ramp(300, 2.0)),
            ],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_stream_equals_the_encoding() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    std::fs::write(&path, b"old").unwrap();
    write(&path, &model()).unwrap();
    assert!(open(&path).unwrap().proto == model());
    assert_eq!(names(dir.path()), ["m.onnx"]);
}

#[test]
fn scratch_memory_works_as_the_contract_of_bufmut_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let mut s = Stream { out: OutputFile::create(&path, false).unwrap(), failed: None, scratch: [0; 64] };
    s.chunk_mut()[..3].copy_from_slice(b"abc");
    // SAFETY: three bytes were written just above.
    unsafe { s.advance_mut(3) };
    s.put_bytes(b'x', 70);
    s.put(&b"end"[..]);
    s.out.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), [&b"abc"[..], &[b'x'; 70], b"end"].concat());
}

#[test]
fn more_than_two_gibibytes_are_refused_before_writing() {
    let dir = tempfile::tempdir().unwrap();
    // Untouched zero pages, shared by all three.
    let gib = to_proto("w", &Tensor::new(crate::ir::DType::U8, vec![1 << 30], vec![0; 1 << 30]).unwrap());
    let mut m = model();
    m.graph.as_mut().unwrap().initializer = vec![gib; 3];
    let e = write(dir.path().join("m.onnx"), &m).unwrap_err();
    assert!(matches!(&e, Error::Usage(t) if t.contains("3.0 GiB") && t.contains(&crate::field::Field::EXTERNAL_DATA.to_string())), "{e}");
    assert!(names(dir.path()).is_empty());
}

#[test]
fn two_models_share_one_file_of_weights() {
    let dir = tempfile::tempdir().unwrap();
    let file = |n: &str| dir.path().join(n);
    let mut weights = ExternalWriter::create(file("weights.bin")).unwrap();
    assert!(weights.is_empty());
    let (mut a, mut b) = (model(), model());
    write_external(file("a.onnx"), &mut a, &mut weights).unwrap();
    let length = weights.len();
    write_external(file("b.onnx"), &mut b, &mut weights).unwrap();
    assert_eq!(weights.len(), length);
    weights.finish().unwrap();
    assert_eq!(names(dir.path()), ["a.onnx", "b.onnx", "weights.bin"]);
    // `w` and `equal` once, `typed`, `mid`; `axes` and the attribute stay inside.
    assert_eq!(length, 1_200_000_u64.next_multiple_of(64) + 2432 + 1200);
    assert_eq!(std::fs::metadata(file("weights.bin")).unwrap().len(), length);
    assert!(std::fs::metadata(file("a.onnx")).unwrap().len() < 4000);

    let back = read(file("a.onnx")).unwrap();
    for (t, expected) in back.graph().unwrap().initializer.iter().zip(&model().graph.unwrap().initializer) {
        assert_eq!(back.tensor(t).unwrap(), tensor::tensor(expected, dir.path()).unwrap(), "{}", t.name());
        let offset = t.external_data.iter().find(|e| e.key() == "offset").map(|e| e.value().parse::<u64>().unwrap());
        assert_eq!((offset.is_some(), offset.unwrap_or(0) % 64), (t.name() != "axes", 0), "{}", t.name());
    }
    // Such a model cannot be written elsewhere as it is, but it can after inlining.
    let mut proto = back.proto.clone();
    assert!(write(file("c.onnx"), &proto).unwrap_err().to_string().contains("inline it"));
    let mut again = ExternalWriter::create(file("again.bin")).unwrap();
    assert!(write_external(file("c.onnx"), &mut proto.clone(), &mut again).is_err());
    super::super::inline_external(&mut proto, &back.external).unwrap();
    write(file("c.onnx"), &proto).unwrap();
    assert_eq!(names(dir.path()).len(), 5); // with the temporary of `again`
    drop(again);
    assert_eq!(names(dir.path()), ["a.onnx", "b.onnx", "c.onnx", "weights.bin"]);
}

#[test]
fn large_weights_start_on_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let mut weights = ExternalWriter::create(dir.path().join("w")).unwrap();
    assert_eq!(weights.add(&Bytes::from(vec![1; 1025])).unwrap(), 0);
    assert_eq!(weights.add(&Bytes::from(vec![2; 1024])).unwrap(), 1088);
    assert_eq!(weights.add(&Bytes::from(vec![3; 65536])).unwrap(), 4096);
    assert_eq!(weights.add(&Bytes::from(vec![2; 1024])).unwrap(), 1088);
}

#[test]
fn weights_of_another_folder_are_refused() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut weights = ExternalWriter::create(there.path().join("weights.bin")).unwrap();
    let e = write_external(here.path().join("m.onnx"), &mut model(), &mut weights).unwrap_err();
    assert!(e.to_string().contains("the same folder"), "{e}");
}
