//! ONNX Runtime's errors in spgraph's words.

use super::super::signature::one_paragraph;
use crate::error::Error;
use crate::field::Field;

/// The error for what ONNX Runtime refused while `doing` something to `model`.
pub(super) fn explain(doing: &str, model: &str, error: &::ort::Error) -> Error {
    use ::ort::ErrorCode::{InvalidGraph, InvalidProtobuf, NotImplemented};
    let said = one_paragraph(error.message());
    let advice = match error.code() {
        NotImplemented => &format!(
            "This build has no kernel for that operator and its types. A newer ONNX Runtime, float32, or another engine ({} tract) may \
             have one",
            Field::ENGINE
        ),
        InvalidProtobuf => "The file is damaged or is no ONNX model; make it again",
        InvalidGraph => "The model breaks ONNX's rules, or needs a newer ONNX Runtime; make it again, or update the runtime",
        _ if said.contains("allocate memory") || said.contains("out of memory") => "There is too little memory: use a smaller batch",
        _ if said.contains("External data") || said.contains("external data") => {
            "Keep the file with the weights in the model's folder, under the name it was written with"
        }
        _ => "Set SPGRAPH_ORT_LOG=1 to see ONNX Runtime's own log",
    };
    Error::engine(format!("ONNX Runtime could not {doing} {model}: {said}. {advice}"))
}
