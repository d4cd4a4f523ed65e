//! What the examples do is what they say.

#[path = "../../examples/in_memory.rs"]
#[allow(dead_code)]
mod in_memory;
#[path = "../../examples/own_loop.rs"]
#[allow(dead_code)]
mod own_loop;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/resnet20-source.onnx");

#[test]
fn images_in_memory_are_learnt() {
    let out = tempfile::tempdir().unwrap();
    let accuracy = in_memory::run(MODEL, out.path().to_str().unwrap()).unwrap();
    assert!(accuracy > 0.8, "{accuracy}");
    let run = out.path().join("run");
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("images in memory") && page.contains("test images that nothing was chosen by"));
}

#[test]
fn a_loop_of_one_s_own_learns_and_exports() {
    let out = tempfile::tempdir().unwrap();
    let losses = own_loop::run(MODEL, out.path().to_str().unwrap()).unwrap();
    assert!(losses.last() < Some(&(0.5 * losses[0])), "{losses:?}");
    assert!(out.path().join("tuned.onnx").is_file());
}
