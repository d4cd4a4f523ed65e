//! The graph of one batch: images in, sums of squared gradients out.
//!
//! For image `i` and class `k` the cotangent of the logits `z` is that of `√w_ik·log f_k(x_i)`, `√w_ik·(e_k − f(x_i))`. Squares of
//! the gradients that come out of it carry the weight `w_ik`:
//!
//! | mode | samples | weight |
//! |---|---|---|
//! | exact | every image with every class | `f_k(x_i)` |
//! | sampled | every image with one class, `argmax(z + Gumbel noise)`, which is a draw from `f(x_i)` | 1 |
//! | empirical | every image with its label | 1 |

use super::layout::BatchLayout;
use super::mode::Mode;
use crate::emit::{self, Dialect};
use crate::error::{Error, Refusal, Result};
use crate::grad;
use crate::import::{BatchSize, Imported, Network, Parameter};
use crate::ir::{Attr, Attrs, DType, Dim, Graph, Node, Tensor, TensorType, ValueId};
use crate::onnx::pb;
use crate::operator::{Builder, Grad, PerSample, Rule, Samples, Status, View, fixed};
use crate::ops::table;
use crate::pass::{self, Wide};
use crate::rewrite;
use std::collections::{BTreeMap, HashSet};

/// A parameter whose Fisher information the graph computes.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The name in the model.
    pub name: String,
    /// What a person would call it, such as `layer1.0.conv1.weight`.
    pub alias: String,
    /// That of the parameter and of its Fisher information.
    pub shape: Vec<usize>,
}

/// The layer of each parameter, by number, and the layers' names: `layer1.0.conv1` for `layer1.0.conv1.weight`.
pub fn layers(parameters: &[Measured]) -> (Vec<usize>, Vec<String>) {
    let mut names: Vec<String> = vec![];
    let numbers = parameters.iter().map(|p| {
        let name = match p.alias.rsplit_once('.') {
            Some((layer, "weight" | "bias")) => layer,
            _ => &p.alias,
        };
        names.iter().position(|n| n == name).unwrap_or_else(|| {
            names.push(name.to_string());
            names.len().saturating_sub(1)
        })
    });
    (numbers.collect(), names)
}

/// The graph with the names of its ports. Its inputs are the images, `[rows]` with 1 for a row that counts, else 0, and
/// what the mode needs; its outputs are the parameters' sums of squares in the order of `parameters`, then `traces`:
/// `[parameters, rows]`, the same summed over elements, by image.
#[derive(Debug)]
pub struct FisherGraph {
    /// The network with its gradients, without a loss or an update.
    pub graph: Graph,
    /// In the order of the outputs.
    pub parameters: Vec<Measured>,
    /// What people call the parameters that are not measured: there is no rule for the gradients of single samples where they are used, and they
    /// are no weights.
    pub left_out: Vec<String>,
    /// The name of the input for images, `[rows, C, H, W]`.
    pub input: String,
    /// `[rows]`, 1 for a row that counts, else 0.
    pub valid: String,
    /// Exact: `classes`, int64 `[copies]`, -1 for none. Sampled: `noise`, `[rows, K]`. Empirical: `target`, int64 `[rows]`.
    pub selector: String,
    /// The precision of the network, and of all inputs and outputs but the integers.
    pub dtype: DType,
    /// The images' element type.
    pub input_dtype: DType,
}

impl FisherGraph {
    /// As an ONNX model.
    pub fn model(&self) -> Result<pb::ModelProto> {
        emit::model(&self.graph, Dialect::Functions)
    }
}

fn failed(what: &'static str) -> impl Fn(String) -> Error {
    move |reason| Error::internal(format!("the graph for the Fisher information cannot be built ({what}): {reason}"))
}

/// Builds the graph. BatchNorm uses its moving statistics: with batch statistics there is no gradient of a single image.
pub fn build(network: &Network, mode: Mode, shape: BatchLayout) -> Result<FisherGraph> {
    let BatchLayout { rows, copies } = shape;
    let imported = network.at(BatchSize::Fixed(rows))?;
    let tail = rewrite::softmax_output(&imported, None)?.tail;
    let Imported { mut graph, input, parameters, .. } = imported;
    let mut wide = network.at(BatchSize::Fixed(rows.saturating_mul(copies)))?.graph;
    if copies > 1 {
        pass::leading_samples(&graph, &wide, copies)?;
    } else {
        pass::leading_samples(&graph, &network.at(BatchSize::Fixed(rows.saturating_mul(2)))?.graph, 2)?;
    }
    let (classes, logits) = (tail.scores(), tail.logits);
    let dtype = graph.ty(logits).dtype;
    let (nodes, values) = (graph.nodes.len(), graph.values.len());

    let (uses, mut left_out) = uses(&graph, &parameters)?;
    let mut wanted: Vec<ValueId> = uses.keys().filter_map(|&node| graph.nodes.get(node)?.outputs.first().copied()).collect();
    let seed = wide.input("cotangent", wide.ty(logits).clone());
    let found = grad::backward(&mut wide, &[(logits, seed)], &wanted)?;
    wanted.retain(|v| found.contains_key(v));
    let cotangents: Vec<ValueId> = wanted.iter().filter_map(|v| found.get(v).copied()).collect();

    graph.outputs.clear();
    let valid = graph.input("valid", TensorType::new(dtype, [rows]));
    let selector = match mode {
        Mode::Exact => graph.input("classes", TensorType::new(DType::I64, [copies])),
        Mode::Sampled => graph.input("noise", TensorType::new(dtype, [rows, classes])),
        Mode::Empirical => graph.input("target", TensorType::new(DType::I64, [rows])),
    };
    let mut b = Builder::new(&mut graph);
    b.scope("cotangent");
    let top = cotangent(&mut b, mode, logits, valid, selector, classes, shape).map_err(failed("cotangent"))?;
    let top = b.reshape(top, wide.ty(seed).shape.clone().as_slice()).map_err(failed("cotangent"))?;
    let wide = Wide { graph: &wide, nodes, values, rows, copies };
    let cotangents = wide.append_to(&mut graph, (seed, top), &cotangents)?;

    let mut parts: BTreeMap<ValueId, Vec<PerSample>> = BTreeMap::new();
    let mut refusals = vec![];
    for (&index, needs) in &uses {
        let node = graph.nodes.get(index).cloned().ok_or_else(|| Error::internal("a parameter is used by a node that is not there"))?;
        // The output does not depend on every node.
        let Some(dy) = wanted.iter().zip(&cotangents).find(|(v, _)| node.outputs.first() == Some(*v)).map(|(_, dy)| *dy) else { continue };
        let operator = table::find(&node.op_type);
        let operator = operator.ok_or_else(|| Error::internal(format!("{} is not in the operator table", node.op_type)))?;
        let mut b = Builder::new(&mut graph);
        b.scope(format!("{}.samples", node.name));
        let samples = Samples { grad: Grad { node: node.clone(), dy: vec![Some(dy)], needs: needs.clone() }, rows, copies };
        match operator.per_sample(&mut b, &samples) {
            Err(reason) => {
                let refusal = Refusal::of(&node.name, &node.op_type, reason)?;
                match no_weight(&parameters, &node, needs) {
                    true => left_out.extend(node.inputs.iter().zip(needs).filter(|(_, needed)| **needed).filter_map(|(v, _)| *v)),
                    false => refusals.push(refusal),
                }
            }
            Ok(list) => {
                for (input, part) in node.inputs.iter().zip(list) {
                    if let (Some(input), Some(part)) = (input, part) {
                        parts.entry(*input).or_default().push(part);
                    }
                }
            }
        }
    }
    if !refusals.is_empty() {
        return Err(Error::Unsupported(refusals));
    }

    let (mut measured, mut traces) = (vec![], vec![]);
    let of_interest = |p: &&Parameter| !p.kind.is_buffer() && !left_out.contains(&p.value);
    for p in parameters.iter().filter(of_interest) {
        // What the output does not depend on is no trainable parameter.
        let Some(parts) = parts.get(&p.value) else { continue };
        let (sum, trace) = squares(&mut graph, p, parts, shape).map_err(failed("squares"))?;
        graph.rename(sum, &format!("{}.fisher", p.name));
        graph.outputs.push(sum);
        traces.push(trace);
        let shape = fixed(graph.ty(p.value)).map_err(Error::internal)?;
        measured.push(Measured { name: p.name.clone(), alias: p.alias.clone(), shape });
    }
    if measured.is_empty() {
        return Err(Error::model("the network's output depends on none of its parameters, so there is no Fisher information to compute"));
    }
    let traces = Builder::new(&mut graph).concat(&traces, 0).map_err(failed("traces"))?;
    graph.rename(traces, "traces");
    graph.outputs.push(traces);
    graph.inputs = vec![input, valid, selector];
    graph.name = "fisher".into();
    graph.verify().map_err(|e| Error::model(format!("the graph for the Fisher information is malformed: {e}")))?;
    Ok(FisherGraph {
        input_dtype: graph.ty(input).dtype,
        input: graph.name_of(input).to_string(),
        valid: graph.name_of(valid).to_string(),
        selector: graph.name_of(selector).to_string(),
        graph,
        parameters: measured,
        left_out: parameters.iter().filter(|p| left_out.contains(&p.value)).map(|p| p.alias.clone()).collect(),
        dtype,
    })
}

/// Whether none of the needed inputs is a weight, which the penalties act on by default.
fn no_weight(parameters: &[Parameter], node: &Node, needs: &[bool]) -> bool {
    let weight = |v: ValueId| parameters.iter().any(|p| p.value == v && p.kind.is_weight());
    !node.inputs.iter().zip(needs).any(|(v, needed)| *needed && v.is_some_and(weight))
}

/// Nodes by index with the inputs that are parameters, and parameters that no rule measures.
type Uses = (BTreeMap<usize, Vec<bool>>, HashSet<ValueId>);

/// The nodes that read parameters, with what each reads, and parameters that no rule measures. Fails on nodes that read weights and have no
/// rule for that.
fn uses(graph: &Graph, parameters: &[Parameter]) -> Result<Uses> {
    let trained: HashSet<ValueId> = parameters.iter().filter(|p| !p.kind.is_buffer()).map(|p| p.value).collect();
    let mut found = BTreeMap::new();
    let (mut left_out, mut refusals) = (HashSet::new(), vec![]);
    for (index, node) in graph.nodes.iter().enumerate() {
        let needs: Vec<bool> = node.inputs.iter().map(|i| i.is_some_and(|i| trained.contains(&i))).collect();
        if !needs.contains(&true) {
            continue;
        }
        let operator = table::find(&node.op_type).filter(|o| o.status() == Status::Differentiable);
        if operator.is_none_or(|o| o.parameters(&View { graph, node }).is_empty()) {
            if no_weight(parameters, node, &needs) {
                left_out.extend(node.inputs.iter().zip(&needs).filter(|(_, needed)| **needed).filter_map(|(v, _)| *v));
                continue;
            }
            let reason = "it reads a parameter of another layer, and has no rule for the gradients of single samples".into();
            refusals.push(Refusal { node: node.name.clone(), op: node.op_type.clone(), reason });
        }
        found.insert(index, needs);
    }
    if refusals.is_empty() { Ok((found, left_out)) } else { Err(Error::Unsupported(refusals)) }
}

/// `[rows·copies, K]`: the cotangents of the logits, image by image.
fn cotangent(
    b: &mut Builder,
    mode: Mode,
    logits: ValueId,
    valid: ValueId,
    selector: ValueId,
    classes: usize,
    BatchLayout { rows, copies }: BatchLayout,
) -> Rule<ValueId> {
    let known = |dims: &[usize]| dims.iter().map(|&d| Dim::Known(d)).collect::<Vec<_>>();
    let z = b.reshape(logits, &known(&[rows, classes]))?;
    let dtype = b.dtype(z);
    let last = || Attrs::from([("axis".to_string(), Attr::Int(1))]);
    let p = b.op("Softmax", &[z], last())?;
    let labels = b.constant(Tensor::from_i64(&[1, classes], &(0..classes as i64).collect::<Vec<_>>()));
    let chosen = match mode {
        Mode::Exact => b.reshape(selector, &known(&[copies, 1]))?,
        Mode::Empirical => b.reshape(selector, &known(&[rows, 1]))?,
        Mode::Sampled => {
            let shifted = b.add(z, selector)?;
            b.op("ArgMax", &[shifted], Attrs::from([("axis".to_string(), Attr::Int(1)), ("keepdims".to_string(), Attr::Int(1))]))?
        }
    };
    let hit = b.op("Equal", &[chosen, labels], Attrs::new())?;
    let one_hot = b.cast(hit, dtype)?;
    let valid = b.reshape(valid, &known(&[rows, 1]))?;
    if mode != Mode::Exact {
        let difference = b.sub(one_hot, p)?;
        return b.mul(difference, valid);
    }
    // √(f_k·valid), [rows, copies]; 0 for the class -1, which is none.
    let weight = b.gemm(p, false, one_hot, true)?;
    let root = b.op("Sqrt", &[weight], Attrs::new())?;
    let root = b.mul(root, valid)?;
    let root = b.reshape(root, &known(&[rows, copies, 1]))?;
    let one_hot = b.reshape(one_hot, &known(&[1, copies, classes]))?;
    let p = b.reshape(p, &known(&[rows, 1, classes]))?;
    let difference = b.sub(one_hot, p)?;
    let all = b.mul(difference, root)?;
    b.reshape(all, &known(&[rows.saturating_mul(copies), classes]))
}

/// A parameter's sum of squares, and its sum over elements by image: `[1, rows]`.
fn squares(graph: &mut Graph, p: &Parameter, parts: &[PerSample], BatchLayout { rows, copies }: BatchLayout) -> Rule<(ValueId, ValueId)> {
    let ty = graph.ty(p.value).clone();
    let mut b = Builder::new(graph);
    b.scope(format!("{}.squares", p.alias));
    let gradient = PerSample::total(&mut b, parts, &ty, rows, copies)?;
    let found = gradient.squares(&mut b, &ty, rows, copies)?;
    let by_image = b.reshape(found.norms, &[rows.into(), copies.into()])?;
    let trace = b.sum(by_image, &[1], false)?;
    Ok((found.sum, b.reshape(trace, &[1.into(), rows.into()])?))
}
