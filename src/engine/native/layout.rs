//! Puts native operators in the place of nodes, with images as `[N, H, W, C]` from end to end.
//!
//! A value that is such an image has a second name, [`last`]. Operators that work element by element take part where all they read
//! are images; everything else gets its images back as `[N, C, H, W]`.

use super::graph::{Editor, calls, is_standard};
use super::ops::{self, Native, TO_CHANNELS_FIRST, TO_CHANNELS_LAST};
use crate::onnx::pb::NodeProto;
use std::collections::HashSet;

/// Operators and functions on single elements: their result has the shape of their operands, in any layout.
const ELEMENTWISE: &[&str] = &["Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Clip", "Add", "Sum", "Mul", "Identity"];
const ELEMENTWISE_FUNCTIONS: &[&str] =
    &["ReluGrad", "LeakyReluGrad", "SigmoidGrad", "TanhGrad", "HardSigmoidGrad", "HardSwishGrad", "ClipGrad"];

/// The name of an image with its channels last.
fn last(value: &str) -> String {
    format!("{value}:channels_last")
}

/// A node of a native operator.
fn node(native: &Native, name: String, input: Vec<String>, output: Vec<String>) -> NodeProto {
    NodeProto {
        name: Some(name),
        op_type: Some(native.name.into()),
        domain: Some(ops::DOMAIN.into()),
        input,
        output,
        ..NodeProto::default()
    }
}

/// Which layouts of images have been computed so far.
#[derive(Default)]
struct Layouts {
    /// Images that exist with their channels last.
    last: HashSet<String>,
    /// Of those, the ones that exist with their channels first as well.
    first: HashSet<String>,
    nodes: Vec<NodeProto>,
}

impl Layouts {
    /// The name of a node that stands for none of the source: without a path, as the runtime's own nodes.
    fn own(&self, what: &str) -> String {
        format!("{what}_{}", self.nodes.len())
    }

    /// The image's name with its channels last, for which a node is added where it is missing.
    fn channels_last(&mut self, value: &str) -> String {
        let name = last(value);
        if self.last.insert(value.into()) {
            self.first.insert(value.into());
            let put = node(&TO_CHANNELS_LAST, self.own("ToChannelsLast"), vec![value.into()], vec![name.clone()]);
            self.nodes.push(put);
        }
        name
    }

    /// Makes sure that the value exists as ONNX has it.
    fn channels_first(&mut self, value: &str) {
        if self.last.contains(value) && self.first.insert(value.into()) {
            let put = node(&TO_CHANNELS_FIRST, self.own("ToChannelsFirst"), vec![last(value)], vec![value.into()]);
            self.nodes.push(put);
        }
    }
}

/// Rewrites the editor's nodes; gives the number of native operators, without changes of layout.
pub fn apply(editor: &mut Editor) -> usize {
    let mut layouts = Layouts::default();
    let mut count = 0;
    for mut source in std::mem::take(&mut editor.nodes) {
        if let Some(native) = ops::find(editor, &source) {
            count += 1;
            let shape = native.replaces.as_ref().and_then(|s| s.shape).and_then(|shape| shape(editor, &source));
            let inputs = source.input.iter().zip(native.inputs).map(|(value, port)| match port.is_image() && !value.is_empty() {
                true => layouts.channels_last(value),
                false => {
                    layouts.channels_first(value);
                    value.clone()
                }
            });
            let inputs = inputs.collect();
            for (value, _) in source.output.iter_mut().zip(native.outputs).filter(|(v, p)| p.is_image() && !v.is_empty()) {
                editor.add_image(value, shape.clone());
                layouts.last.insert(value.clone());
                *value = last(value);
            }
            let mut put = node(native, source.name().into(), inputs, source.output);
            put.attribute = source.attribute;
            layouts.nodes.push(put);
        } else if is_elementwise(editor, &layouts, &source) {
            let like = source.input.iter().find(|v| editor.is_image(v)).cloned().unwrap_or_default();
            for value in source.input.iter_mut().filter(|v| !v.is_empty() && !editor.is_number(v)) {
                *value = layouts.channels_last(value);
            }
            for value in &mut source.output {
                editor.add_image(value, editor.shape(&like).map(<[i64]>::to_vec));
                layouts.last.insert(value.clone());
                *value = last(value);
            }
            layouts.nodes.push(source);
        } else {
            source.input.iter().for_each(|value| layouts.channels_first(value));
            layouts.nodes.push(source);
        }
    }
    let mut outputs: Vec<String> = editor.outputs.iter().cloned().collect();
    outputs.sort();
    outputs.iter().for_each(|value| layouts.channels_first(value));
    editor.nodes = layouts.nodes;
    count
}

/// Whether the node works on elements of images alone, at least one of which has its channels last already. All operands of a
/// function have one shape; those of an operator must be known to be images, or single numbers.
fn is_elementwise(editor: &Editor, layouts: &Layouts, node: &NodeProto) -> bool {
    if !node.input.iter().any(|v| layouts.last.contains(v)) {
        return false;
    }
    if ELEMENTWISE_FUNCTIONS.iter().any(|f| calls(node, f)) {
        return true;
    }
    let fits = |v: &String| v.is_empty() || editor.is_image(v) || editor.is_number(v);
    ELEMENTWISE.iter().any(|op| is_standard(node, op)) && node.input.iter().all(fits)
}
