use super::*;
use prost::Message;
use std::fs;
use std::ops::Range;

fn model(weights: usize) -> pb::ModelProto {
    let t = ir::Tensor::from_f32(&[weights], &(0..weights).map(|i| i as f32).collect::<Vec<_>>());
    let node =
        pb::NodeProto { input: vec!["x".into(), "w".into()], output: vec!["y".into()], op_type: Some("Add".into()), ..Default::default() };
    pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(pb::GraphProto {
            name: Some("g".into()),
            input: vec![pb::ValueInfoProto { name: Some("x".into()), ..Default::default() }],
            node: vec![node],
            initializer: vec![tensor::to_proto("w", &t)],
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The message for a file with this content.
fn complaint(content: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    fs::write(&path, content).unwrap();
    read(&path).unwrap_err().to_string()
}

#[test]
fn weights_are_slices_and_the_hash_is_the_file_s() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    // More than one chunk for the hashing thread, and not a multiple.
    let bytes = model(700_001).encode_to_vec();
    fs::write(&path, &bytes).unwrap();
    let m = read(&path).unwrap();
    assert_eq!(m.proto, model(700_001));
    assert_eq!((m.bytes, m.dir.as_path()), (bytes.len() as u64, dir.path()));
    let expected: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(m.sha256, expected);
    let t = &m.graph().unwrap().initializer[0];
    assert_eq!(m.tensor(t).unwrap().bytes().as_ptr(), t.raw_data.as_ref().unwrap().as_ptr());
}

#[test]
fn raw_data_shares_the_buffer_it_was_decoded_from() {
    let data = Bytes::from(model(5000).encode_to_vec());
    let range = |b: &[u8]| -> Range<*const u8> { b.as_ptr_range() };
    let proto = decode(&data).unwrap();
    let raw = proto.graph.unwrap().initializer[0].raw_data.clone().unwrap();
    assert!(range(&data).contains(&raw.as_ptr()));
}

#[test]
fn every_truncation_is_noticed() {
    let whole = model(3000).encode_to_vec();
    for i in 1..50 {
        let e = complaint(&whole[..whole.len() * i / 50]);
        assert!(e.contains("m.onnx is not an ONNX model or is truncated") && e.contains("download it again"), "{i}: {e}");
    }
    assert!(complaint(&whole[..whole.len() - 1]).contains("truncated"));
    assert!(complaint(b"").contains("is empty"));
    // Right behind the graph, where every length is still right.
    let cut = pb::ModelProto { opset_import: vec![], ..model(10) }.encode_to_vec();
    assert!(whole.len() > cut.len() && complaint(&cut).contains("names no operator set"));
}

#[test]
fn models_without_content_are_refused() {
    let mut m = model(4);
    m.graph.as_mut().unwrap().node.clear();
    assert!(complaint(&m.encode_to_vec()).contains("no nodes"));
    m.graph = None;
    assert!(complaint(&m.encode_to_vec()).contains("no graph"));
}

#[test]
fn other_files_are_recognised() {
    assert!(complaint(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n").contains("git lfs pull"));
    assert!(complaint(b"PK\x03\x04....archive/data.pkl").contains("torch.onnx.export"));
    assert!(complaint(b"hello\n").contains("text file"));
    let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
    assert!(complaint(&noise).contains("not an ONNX model"));
}

#[test]
fn missing_files_and_folders_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let e = read(dir.path().join("no.onnx")).unwrap_err();
    assert!(matches!(e, Error::Io { .. }) && e.to_string().contains("no.onnx"), "{e}");
    assert!(read(dir.path()).unwrap_err().to_string().contains("is a folder"));
}

#[test]
fn a_bare_name_lies_in_the_current_folder() {
    assert_eq!(crate::storage::files::parent(Path::new("m.onnx")), Path::new("."));
    assert_eq!(crate::storage::files::parent(Path::new("a/m.onnx")), Path::new("a"));
}
