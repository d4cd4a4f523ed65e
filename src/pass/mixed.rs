//! Mixed precision: which numbers of a graph have 16 bits.

use super::Pass;
use super::half::{converted, has_numbers_between, is_flexible, is_float, of_node};
use crate::error::{Error, Result};
use crate::ir::{Attr, Attrs, Becomes, DType, Domain, Graph, Node, Rebuild, TensorType, ValueId};
use crate::operator::Half;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Computes products on factors of half precision, and keeps what they give so as long as nothing but [`Half::Exact`] and
/// [`Half::Rounded`] operators and norms work on it. Where half precision meets float32 it is widened, and inputs, outputs, and what
/// an operator says is [`Half::Never`] are float32. A value is rounded once, where it is made; so is a float32 value that products read.
///
/// Functions are changed inside: a body is as if it stood in the graph.
#[derive(Debug, Clone, Copy)]
pub struct MixedPrecision<'a> {
    /// float16 or bfloat16.
    pub half: DType,
    /// Tensors stay float32, with the numbers rounded to those that `half` has, in the same places: for runtimes that lack the type.
    pub rounded: bool,
    /// Operators for which the runtimes that have the type have no kernel of it: they take their operands widened, and what they give is rounded.
    pub widened: &'a [&'a str],
}

/// Constants up to this size are written in half precision; larger ones are converted while the graph runs, or before.
const SMALL: usize = 64;

impl Pass for MixedPrecision<'_> {
    fn name(&self) -> &'static str {
        "mixed precision"
    }

    fn requires(&self, graph: &Graph) -> std::result::Result<(), String> {
        match graph.ids().find(|&v| graph.ty(v).dtype.is_half()) {
            Some(v) => Err(format!("`{}` has half precision already", graph.name_of(v))),
            None => Ok(()),
        }
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let (made, _) = self.within(graph, &[]).map_err(Error::internal)?;
        *graph = made;
        Ok(())
    }

    fn ensures(&self, graph: &Graph) -> std::result::Result<(), String> {
        let is_half = |v: &ValueId| graph.ty(*v).dtype.is_half();
        for node in graph.nodes.iter().filter(|n| !n.is("Cast") && of_node(n) == Half::Never) {
            if let Some(v) = node.used().chain(node.outputs.iter().copied()).find(is_half) {
                return Err(format!("node `{}` computes in float32 and meets `{}`", node.name, graph.name_of(v)));
            }
        }
        Ok(())
    }
}

type Rule<T> = std::result::Result<T, String>;

impl MixedPrecision<'_> {
    /// The graph, of whose inputs some have half precision; also says which outputs have it. Those of a graph none of whose inputs has it are float32.
    fn within(&self, source: &Graph, half: &[bool]) -> Rule<(Graph, Vec<bool>)> {
        let mut made = source.successor();
        let mut r = Rebuild::new(source, &mut made);
        let mut forms =
            Forms { pass: *self, halves: HashMap::new(), native: HashSet::new(), floats: HashSet::new(), widened: HashMap::new() };
        let mut inputs = vec![];
        for (&v, _) in source.inputs.iter().zip(half).filter(|(_, half)| **half) {
            let here = r.input(v, self.ty(source, v));
            forms.halves.insert(v, here);
            forms.native.insert(v);
            if self.rounded {
                forms.floats.insert(v);
            }
            inputs.push((v, here));
        }
        r.run(|r, node| forms.node(r, node))?;
        let mut outputs = vec![];
        for &v in &source.outputs {
            let native = !half.is_empty() && forms.native.contains(&v);
            outputs.push((if native { forms.half(&mut r, v)? } else { forms.float(&mut r, v)? }, native));
        }
        let place = |v: &ValueId| inputs.iter().find(|(input, _)| input == v).map_or_else(|| r.get(*v), |(_, here)| Ok(*here));
        let inputs = source.inputs.iter().map(place).collect::<Rule<_>>()?;
        made.inputs = inputs;
        made.outputs = outputs.iter().map(|o| o.0).collect();
        Ok((made, outputs.into_iter().map(|o| o.1).collect()))
    }

    /// What the value's type is in half precision.
    fn ty(&self, graph: &Graph, v: ValueId) -> TensorType {
        let ty = graph.ty(v).clone();
        if self.rounded { ty } else { TensorType { dtype: self.half, ..ty } }
    }
}

/// What stands for values of the source in each precision. The float32 form of what was made so, or has been widened, is its place in the copy.
struct Forms<'a> {
    pass: MixedPrecision<'a>,
    halves: HashMap<ValueId, ValueId>,
    /// Made in half precision.
    native: HashSet<ValueId>,
    /// Of these, those that are there in float32 as well.
    floats: HashSet<ValueId>,
    /// The numbers of half precision of what was not made so, in float32.
    widened: HashMap<ValueId, ValueId>,
}

impl Forms<'_> {
    fn node(&mut self, r: &mut Rebuild, node: &Node) -> Rule<Becomes> {
        let source = r.source();
        let is_half = |v: ValueId| self.native.contains(&v);
        let mut deciding = node.used().filter(|&v| is_float(source, v) && !is_flexible(source, node, v, self.pass.half)).peekable();
        match of_node(node) {
            Half::Product if node.used().any(|v| is_float(source, v)) => self.in_half(r, node, true),
            class @ (Half::Exact | Half::Rounded) if deciding.peek().is_some() && deciding.all(is_half) => {
                match has_numbers_between(source, node, self.pass.half) {
                    true => self.float32(r, node, node.outputs.iter().map(|&v| is_float(source, v)).collect()),
                    false => self.in_half(r, node, class != Half::Exact),
                }
            }
            Half::Within => {
                // Of a result as large as what was half all over.
                let back = |&v: &ValueId| {
                    let mut alike = node.used().filter(|&i| source.ty(i) == source.ty(v)).peekable();
                    is_float(source, v) && alike.peek().is_some() && alike.all(is_half)
                };
                let back = node.outputs.iter().map(back).collect();
                self.float32(r, node, back)
            }
            _ => self.float32(r, node, vec![false; node.outputs.len()]),
        }
    }

    /// The node on numbers of half precision.
    fn in_half(&mut self, r: &mut Rebuild, node: &Node, rounds: bool) -> Rule<Becomes> {
        let lacks = node.body.is_none() && !self.pass.rounded && self.pass.widened.contains(&node.op_type.as_str());
        if !lacks {
            return self.halved(r, node, rounds);
        }
        let source = r.source();
        let mut inputs = vec![];
        for input in &node.inputs {
            let here = input.map(|v| if is_float(source, v) { self.widened(r, v) } else { r.get(v) });
            inputs.push(here.transpose()?);
        }
        let back = node.outputs.iter().map(|&v| is_float(source, v)).collect();
        self.put(r, node, inputs, back)
    }

    /// The node on half precision.
    fn halved(&mut self, r: &mut Rebuild, node: &Node, rounds: bool) -> Rule<Becomes> {
        let source = r.source();
        let mut inputs = vec![];
        for input in &node.inputs {
            let here = input.map(|v| if is_float(source, v) { self.half(r, v) } else { r.get(v) });
            inputs.push(here.transpose()?);
        }
        let mut put = Node { inputs, outputs: vec![], ..node.clone() };
        let mut outputs = r.outputs(node);
        let mut half: Vec<bool> = node.outputs.iter().map(|&v| is_float(source, v)).collect();
        if let Some(body) = &node.body {
            let (body, results) =
                self.pass.within(body, &node.inputs.iter().map(|i| i.is_some_and(|v| is_float(source, v))).collect::<Vec<_>>())?;
            for (output, &inner) in outputs.iter_mut().zip(&body.outputs) {
                output.1 = body.ty(inner).clone();
            }
            (put.body, half) = (Some(Arc::new(body)), results);
        }
        // A body rounds its results itself.
        let rounds = rounds && put.body.is_none();
        for (((name, ty), _), &v) in outputs.iter_mut().zip(&half).zip(&node.outputs).filter(|((_, half), _)| **half) {
            if self.pass.rounded {
                *name = if rounds { r.graph.fresh(&format!("{name}:unrounded")) } else { name.clone() };
            } else {
                (*name, *ty) = (self.name(r, v), self.pass.ty(source, v));
            }
        }
        let made = r.node(put, outputs);
        for ((&v, here), half) in node.outputs.iter().zip(made).zip(half) {
            match (half, self.pass.rounded && rounds) {
                (false, _) => self.know(r, v, here),
                (true, false) => self.native(r, v, here),
                (true, true) => {
                    let here = self.rounded(r, here, v);
                    self.native(r, v, here);
                }
            }
        }
        Ok(Becomes::Nothing)
    }

    /// The node on float32; outputs for which that is said are rounded.
    fn float32(&mut self, r: &mut Rebuild, node: &Node, rounded: Vec<bool>) -> Rule<Becomes> {
        let mut inputs = vec![];
        for input in &node.inputs {
            inputs.push(input.map(|v| self.float(r, v)).transpose()?);
        }
        self.put(r, node, inputs, rounded)
    }

    /// The node on these inputs, of the types that they have in the source; outputs for which that is said are rounded.
    fn put(&mut self, r: &mut Rebuild, node: &Node, inputs: Vec<Option<ValueId>>, rounded: Vec<bool>) -> Rule<Becomes> {
        let mut outputs = r.outputs(node);
        for ((name, _), _) in outputs.iter_mut().zip(&rounded).filter(|(_, rounded)| **rounded) {
            *name = r.graph.fresh(&format!("{name}:unrounded"));
        }
        let made = r.node(Node { inputs, outputs: vec![], ..node.clone() }, outputs);
        for ((&v, here), rounded) in node.outputs.iter().zip(made).zip(rounded) {
            if !rounded {
                self.know(r, v, here);
                continue;
            }
            let here = match self.pass.rounded {
                true => self.rounded(r, here, v),
                false => self.narrowed(r, here, v),
            };
            self.native(r, v, here);
        }
        Ok(Becomes::Nothing)
    }

    /// `here` stands for `v`, as it was.
    fn know(&mut self, r: &mut Rebuild, v: ValueId, here: ValueId) {
        let known = r.source().value(v);
        let value = r.graph.value_mut(here);
        (value.constant, value.elems, value.layout) = (known.constant.clone(), known.elems.clone(), known.layout);
        r.put(v, here);
    }

    /// `here` stands for `v` in half precision, and nothing in float32.
    fn native(&mut self, r: &mut Rebuild, v: ValueId, here: ValueId) {
        self.halves.insert(v, here);
        self.native.insert(v);
        if self.pass.rounded {
            self.floats.insert(v);
            r.put(v, here);
        }
    }

    /// What stands for the value in float32, or in its own type where it is no float.
    fn float(&mut self, r: &mut Rebuild, v: ValueId) -> Rule<ValueId> {
        if let Some(&half) = self.halves.get(&v).filter(|_| self.native.contains(&v) && self.floats.insert(v)) {
            let ty = r.source().ty(v).clone();
            let here = cast(r, half, r.source().name_of(v).to_string(), ty);
            r.put(v, here);
        }
        r.get(v)
    }

    /// What stands for the value in half precision.
    fn half(&mut self, r: &mut Rebuild, v: ValueId) -> Rule<ValueId> {
        if let Some(&here) = self.halves.get(&v) {
            return Ok(here);
        }
        let MixedPrecision { half, rounded, .. } = self.pass;
        let source = r.source();
        let here = if let Some(constant) = source.value(v).constant.as_ref().filter(|c| c.count() <= SMALL) {
            let narrow = constant.cast(half).map_err(|e| e.to_string())?;
            let narrow = if rounded { narrow.cast(DType::F32).map_err(|e| e.to_string())? } else { narrow };
            r.graph.constant(&self.label(r, v), narrow)
        } else if let Some(made) = converted(source, v).filter(|_| !rounded) {
            let (name, ty) = (self.name(r, v), self.pass.ty(source, v));
            let from = made.used().next().ok_or("a conversion of nothing")?;
            cast(r, r.get(from)?, name, ty)
        } else if rounded {
            let from = self.float(r, v)?;
            let narrow = self.narrowed(r, from, v);
            let name = self.label(r, v);
            let name = r.graph.fresh(&format!("{name}.rounded"));
            cast(r, narrow, name, source.ty(v).clone())
        } else {
            let from = self.float(r, v)?;
            self.narrowed(r, from, v)
        };
        self.halves.insert(v, here);
        Ok(here)
    }

    /// The value's numbers of half precision, in float32.
    fn widened(&mut self, r: &mut Rebuild, v: ValueId) -> Rule<ValueId> {
        if self.native.contains(&v) {
            return self.float(r, v);
        }
        if let Some(&here) = self.widened.get(&v) {
            return Ok(here);
        }
        let (half, name) = (self.half(r, v)?, format!("{}:widened", self.label(r, v)));
        let (name, ty) = (r.graph.fresh(&name), r.source().ty(v).clone());
        let here = cast(r, half, name, ty);
        self.widened.insert(v, here);
        Ok(here)
    }

    fn label(&self, r: &Rebuild, v: ValueId) -> String {
        format!("{}:{}", r.source().name_of(v), self.pass.half)
    }

    /// A new name for the value in half precision.
    fn name(&self, r: &mut Rebuild, v: ValueId) -> String {
        let label = self.label(r, v);
        r.graph.fresh(&label)
    }

    /// What was computed for `v`, in half precision.
    fn narrowed(&self, r: &mut Rebuild, from: ValueId, v: ValueId) -> ValueId {
        let ty = TensorType { dtype: self.pass.half, ..r.source().ty(v).clone() };
        let name = self.name(r, v);
        cast(r, from, name, ty)
    }

    /// What was computed for `v`, as the nearest numbers of half precision, in float32 under the name of `v`.
    fn rounded(&self, r: &mut Rebuild, from: ValueId, v: ValueId) -> ValueId {
        let narrow = self.narrowed(r, from, v);
        cast(r, narrow, r.source().name_of(v).to_string(), r.source().ty(v).clone())
    }
}

/// Adds a node that gives a value another type.
fn cast(r: &mut Rebuild, from: ValueId, name: String, to: TensorType) -> ValueId {
    let attrs = Attrs::from([("to".to_string(), Attr::Int(to.dtype.onnx().into()))]);
    let node = Node { domain: Domain::Onnx, ..Node::new(r.graph.fresh("Cast"), "Cast", vec![Some(from)], attrs) };
    r.single(node, (name, to))
}
