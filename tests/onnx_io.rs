//! Reading takes the memory of the file once; writing takes none. One test, so that nothing else runs in this process.
#![cfg(target_os = "linux")]

use spgraph::ir::{DType, Tensor};
use spgraph::onnx::{self, ExternalWriter, pb};

const WEIGHTS: usize = 128 << 20;

/// Peak resident memory of this process in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn model(count: usize) -> pb::ModelProto {
    let tensor = |i: usize| {
        let length = WEIGHTS / count;
        onnx::to_proto(format!("w{i}"), &Tensor::new(DType::U8, vec![length], vec![i as u8; length]).unwrap())
    };
    let node = pb::NodeProto { op_type: Some("Identity".into()), input: vec!["w0".into()], output: vec!["y".into()], ..Default::default() };
    pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(pb::GraphProto { node: vec![node], initializer: (0..count).map(tensor).collect(), ..Default::default() }),
        ..Default::default()
    }
}

#[test]
fn weights_are_in_memory_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    // Room for buffers and the allocator, far below a copy of the weights.
    let slack = WEIGHTS / 8;

    let written = model(8);
    let before = peak();
    onnx::write(&path, &written).unwrap();
    assert!(peak() - before < slack, "writing took {} MiB", (peak() - before) >> 20);

    let mut weights = ExternalWriter::create(dir.path().join("weights.bin")).unwrap();
    onnx::write_external(dir.path().join("external.onnx"), &mut written.clone(), &mut weights).unwrap();
    weights.finish().unwrap();
    assert!(peak() - before < slack, "writing external data took {} MiB", (peak() - before) >> 20);

    let read = onnx::read(&path).unwrap();
    let tensors: Vec<_> = read.graph().unwrap().initializer.iter().map(|t| read.tensor(t).unwrap()).collect();
    let grown = peak() - before;
    assert!(grown < WEIGHTS + slack, "reading took {} MiB", grown >> 20);

    let external = onnx::read(dir.path().join("external.onnx")).unwrap();
    for (t, inline) in external.graph().unwrap().initializer.iter().zip(&tensors) {
        assert_eq!(&external.tensor(t).unwrap(), inline);
    }
    assert_eq!(read.proto, written);
    let grown = peak() - before;
    assert!(grown < 2 * WEIGHTS + slack, "two models in memory took {} MiB", grown >> 20);
}
