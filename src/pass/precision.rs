//! Images of bfloat16 between kernels that take such.

use super::Pass;
use super::kernel::{self, Kernel, Port, lies_alike};
use crate::error::{Error, Result};
use crate::ir::{Attr, Becomes, DType, Domain, Graph, Layout, Node, Rebuild, TensorType, ValueId, rebuild};
use crate::operator::View;
use crate::ops::table;
use std::collections::HashMap;

/// Keeps images as bfloat16, with half of the bytes, between kernels that have a form for it: they multiply factors of bfloat16 and add up in
/// float32. Images are rounded where they are made. Everything else stays float32: statistics, losses, weights and their gradients, and what
/// kernels that have no such form work on, which gets its images widened.
pub struct HalfImages<'k> {
    /// Every native operator that there is.
    pub kernels: &'k [&'static Kernel],
    /// Whether a kernel has such a form.
    pub half: &'k dyn Fn(&Kernel) -> bool,
}

/// The name of a kernel's form for images of bfloat16.
pub fn half_name(name: &str) -> String {
    format!("{name}Bf16")
}

impl Pass for HalfImages<'_> {
    fn name(&self) -> &'static str {
        "images of bfloat16"
    }

    fn requires(&self, graph: &Graph) -> std::result::Result<(), String> {
        kernel::verify_layouts(graph, self.kernels)
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let mut halves = Halves(HashMap::new());
        let made = rebuild(graph, |r, node| {
            let view = View { graph: r.source(), node };
            let kernel = kernel::of(self.kernels, node).filter(|k| (self.half)(k) && has_places(k, &view));
            if let Some(kernel) = kernel {
                halves.native(r, node, kernel)
            } else if halves.moves(&view) {
                halves.moved(r, node)
            } else {
                halves.floats(r, node, kernel::of(self.kernels, node))
            }
        });
        *graph = made.map_err(Error::internal)?;
        Ok(())
    }

    fn ensures(&self, graph: &Graph) -> std::result::Result<(), String> {
        let is_half = |v: &ValueId| graph.ty(*v).dtype == DType::BF16;
        for node in &graph.nodes {
            let takes = node.domain == Domain::Native || node.is("Cast") || table::find(&node.op_type).is_some_and(|o| o.facts().moves);
            if let Some(v) = node.used().chain(node.outputs.iter().copied()).find(is_half).filter(|_| !takes) {
                return Err(format!("node `{}` meets `{}`, which is bfloat16", node.name, graph.name_of(v)));
            }
        }
        match graph.inputs.iter().chain(&graph.outputs).find(|v| is_half(v)) {
            Some(&v) => Err(format!("`{}` is an input or output and has become bfloat16", graph.name_of(v))),
            None => Ok(()),
        }
    }
}

/// Whether the node has an image of more than one place: others are so small that nothing is gained.
fn has_places(kernel: &Kernel, n: &View) -> bool {
    let inputs = kernel.inputs.iter().zip(&n.node.inputs).filter_map(|(p, v)| Some((*p, (*v)?)));
    let outputs = kernel.outputs.iter().copied().zip(n.node.outputs.iter().copied());
    inputs.chain(outputs).any(|(port, v)| is_image(n.graph, port, v) && !lies_alike(n.graph.ty(v)))
}

/// Whether what a kernel finds at a port is an image.
fn is_image(graph: &Graph, port: Port, v: ValueId) -> bool {
    port.is_image() || port == Port::Alike && graph.value(v).layout == Layout::ChannelsLast && !lies_alike(graph.ty(v))
}

/// What stands for images of the source as bfloat16. What stands for them as float32 is their place in the copy.
struct Halves(HashMap<ValueId, ValueId>);

type Rule<T> = std::result::Result<T, String>;

impl Halves {
    /// The value as bfloat16, for which a node is added where it is missing.
    fn half(&mut self, r: &mut Rebuild, v: ValueId) -> Rule<ValueId> {
        if let Some(&here) = self.0.get(&v) {
            return Ok(here);
        }
        let from = r.get(v)?;
        let here = cast(r, from, v, DType::BF16);
        self.0.insert(v, here);
        Ok(here)
    }

    /// The value as float32, likewise.
    fn float(&mut self, r: &mut Rebuild, v: ValueId) -> Rule<ValueId> {
        if let (None, Some(&here)) = (r.at(v), self.0.get(&v)) {
            let float = cast(r, here, v, DType::F32);
            r.put(v, float);
        }
        r.get(v)
    }

    /// The node's inputs, as bfloat16 where there is such a value and `half` takes it, else as float32.
    fn inputs(&mut self, r: &mut Rebuild, node: &Node, half: impl Fn(&Rebuild, usize, ValueId) -> bool) -> Rule<Vec<Option<ValueId>>> {
        let mut one = |i: usize, v: ValueId| match self.0.get(&v) {
            Some(&here) if half(r, i, v) => Ok(here),
            _ => self.float(r, v),
        };
        node.inputs.iter().enumerate().map(|(i, input)| input.map(|v| one(i, v)).transpose()).collect()
    }

    /// The kernel's form for bfloat16 in the place of `node`.
    fn native(&mut self, r: &mut Rebuild, node: &Node, kernel: &Kernel) -> Rule<Becomes> {
        let ports = kernel.inputs.iter().take_while(|p| **p != Port::Others).count();
        let (mut images, mut others) = (vec![], vec![]);
        for (i, input) in node.inputs.iter().enumerate() {
            // All that follow the last port are of its kind.
            let port = kernel.inputs.get(i).or(kernel.inputs.last()).copied().unwrap_or(Port::Others);
            let (mut image, mut other) = (None, None);
            match *input {
                Some(v) if is_image(r.source(), port, v) => image = Some(self.half(r, v)?),
                // A place of its own, behind all others.
                Some(v) if port == Port::Alike => other = Some(self.float(r, v)?),
                Some(v) => image = Some(self.float(r, v)?),
                None => {}
            }
            images.push(image);
            others.push(other);
        }
        if others.iter().any(Option::is_some) {
            images.resize(ports, None);
            images.append(&mut others);
        }
        let put = Node { op_type: half_name(&node.op_type), inputs: images, outputs: vec![], ..node.clone() };
        Ok(self.give(r, put, node, |graph, i, v| kernel.outputs.get(i).is_some_and(|&port| is_image(graph, port, v))))
    }

    /// Whether the node only moves elements of images that are bfloat16 already.
    fn moves(&self, n: &View) -> bool {
        let operator = table::find(&n.node.op_type).filter(|o| n.node.domain == Domain::Onnx && o.facts().moves);
        let floats = || n.node.used().filter(|&v| n.graph.ty(v).dtype.is_float());
        operator.is_some() && floats().next().is_some() && floats().all(|v| self.0.contains_key(&v))
    }

    /// The same node on float32. What need only be there before it runs may be of any type.
    fn floats(&mut self, r: &mut Rebuild, node: &Node, kernel: Option<&Kernel>) -> Rule<Becomes> {
        let placed = kernel.and_then(|k| k.inputs.iter().position(|p| *p == Port::Others)).unwrap_or(usize::MAX);
        let inputs = self.inputs(r, node, |r, i, v| i >= placed && r.at(v).is_none())?;
        let put = Node { inputs, outputs: vec![], ..node.clone() };
        Ok(self.give(r, put, node, |_, _, _| false))
    }

    fn moved(&mut self, r: &mut Rebuild, node: &Node) -> Rule<Becomes> {
        let inputs = self.inputs(r, node, |_, _, _| true)?;
        let put = Node { inputs, outputs: vec![], ..node.clone() };
        Ok(self.give(r, put, node, |_, _, _| true))
    }

    /// Adds a node whose outputs stand for those of `node`, as bfloat16 where `image` says so.
    fn give(&mut self, r: &mut Rebuild, put: Node, node: &Node, image: impl Fn(&Graph, usize, ValueId) -> bool) -> Becomes {
        let mut outputs = r.outputs(node);
        let are: Vec<bool> = node.outputs.iter().enumerate().map(|(i, &v)| image(r.source(), i, v)).collect();
        for ((name, ty), _) in outputs.iter_mut().zip(&are).filter(|(_, is)| **is) {
            *name = r.graph.fresh(&format!("{name}:bfloat16"));
            ty.dtype = DType::BF16;
        }
        let made = r.node(put, outputs);
        for ((&v, here), is) in node.outputs.iter().zip(made).zip(are) {
            let (known, value) = (r.source().value(v), r.graph.value_mut(here));
            (value.constant, value.elems, value.layout) = (known.constant.clone(), known.elems.clone(), known.layout);
            if is {
                self.0.insert(v, here);
            } else {
                r.put(v, here);
            }
        }
        Becomes::Nothing
    }
}

/// Adds a node that gives what stands for `v` another type.
fn cast(r: &mut Rebuild, from: ValueId, v: ValueId, to: DType) -> ValueId {
    let source = r.source();
    let ty = TensorType { dtype: to, ..source.ty(v).clone() };
    let name = if to == DType::BF16 { r.graph.fresh(&format!("{}:bfloat16", source.name_of(v))) } else { source.name_of(v).to_string() };
    let attrs = [("to".to_string(), Attr::Int(to.onnx() as i64))].into_iter().collect();
    let node = Node::new(r.graph.fresh("Cast"), "Cast", vec![Some(from)], attrs);
    let here = r.single(node, (name, ty));
    r.graph.value_mut(here).layout = source.value(v).layout;
    here
}
