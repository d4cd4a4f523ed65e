//! docs/operators.md is what the operator table says. `SPGRAPH_BLESS=1 cargo test --release --test operators` rewrites it.

use spgraph::emit::{CUDA_VERSION, kernel_types};
use spgraph::operator::{OPSET, Status};
use spgraph::ops::table;
use std::path::Path;

fn page() -> String {
    let mut text = format!(
        "# Operators\n\n\
         What spgraph knows of ONNX's own domain, made from `src/ops/table.rs`. A model with any other operator is refused, with\n\
         all such nodes listed. *Zero* means that no gradient flows: shapes, comparisons, integers. What depends on shapes alone\n\
         is computed while the model is rewritten. *CUDA* has the types for which the CUDA provider of ONNX Runtime {CUDA_VERSION} has a kernel\n\
         in opset {OPSET}, by its own list (`src/emit/cuda_kernels.txt`); what has none there and is no function runs on the processor.\n\n\
         | operator | gradient | CUDA | notes |\n|---|---|---|---|\n",
    );
    let mut rows: Vec<_> = table::OPERATORS.iter().collect();
    rows.sort_by_key(|o| o.op_type());
    for o in rows {
        let state = match o.status() {
            Status::Differentiable => "yes".to_string(),
            Status::ZeroGradient => "zero".to_string(),
            Status::Refused(reason) => format!("refused: {reason}"),
        };
        let types: Vec<String> = kernel_types(o.op_type(), OPSET).iter().map(|ty| ty.to_string()).collect();
        let cuda = if types.len() == 13 { "all".into() } else { types.join(" ") };
        text.push_str(&format!("| {} | {state} | {cuda} | {} |\n", o.op_type(), o.notes()));
    }
    text
}

#[test]
fn page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operators.md");
    let fresh = page();
    if std::env::var_os("SPGRAPH_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(fresh == kept, "docs/operators.md is stale: run SPGRAPH_BLESS=1 cargo test --release --test operators");
}

#[test]
fn every_operator_is_listed_once() {
    let mut names: Vec<_> = table::OPERATORS.iter().map(|o| o.op_type()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "an operator stands twice in the table");
}
