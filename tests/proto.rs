//! The checked-in protobuf code is what proto/onnx.proto generates. `SPGRAPH_BLESS=1 cargo test --release --test proto` rewrites it.

use std::path::Path;

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile([root.join("proto/onnx.proto")], [root.join("proto")]).expect("proto/onnx.proto compiles");
    let out = tempfile::tempdir().unwrap();
    let mut config = prost_build::Config::new();
    // Weights are slices of the file that was read, not copies.
    config.bytes([".onnx.TensorProto.raw_data"]).out_dir(out.path());
    config.compile_fds(descriptors).unwrap();
    let fresh = std::fs::read_to_string(out.path().join("onnx.rs")).unwrap();
    let kept = root.join("src/onnx/pb.rs");
    if std::env::var_os("SPGRAPH_BLESS").is_some() {
        std::fs::write(&kept, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(kept).unwrap_or_default();
    assert!(fresh == kept, "src/onnx/pb.rs is stale: run SPGRAPH_BLESS=1 cargo test --release --test proto");
}
