//! Images with their channels last from end to end, between kernels that want them so.

use super::Pass;
use super::kernel::{self, Images, Kernel, ORDER, Port, SHUFFLE_CHANNELS, SIZE};
use super::shuffles::Shuffles;
use crate::error::{Error, Result};
use crate::functions;
use crate::ir::{Attr, Attrs, Becomes, DType, Dim, Domain, Graph, Layout, Node, Rebuild, Tensor, TensorType, ValueId};
use crate::operator::{Reordered, View};
use crate::ops::{reshape, table};
use std::collections::{HashMap, HashSet};

/// Which of an image's axes stand where when its channels are last.
const CHANNELS_LAST: [usize; 4] = [0, 2, 3, 1];
/// Which axes of that are those of the image.
const CHANNELS_FIRST: [usize; 4] = [0, 3, 1, 2];

/// Puts kernels in the place of what they cover, with images that lie with their channels last between them. Operators that work
/// element by element take part where all they read are images; everything else gets its images as ONNX has them.
pub struct ChannelsLast<'k> {
    /// Every native operator that there is, with what its images are made of.
    pub kernels: &'k [(DType, &'static Kernel)],
    /// What images can be made of.
    pub images: &'k [Images],
}

impl ChannelsLast<'_> {
    fn shuffles(&self, graph: &Graph) -> Shuffles {
        match self.kernels.iter().any(|(_, k)| k.name == SHUFFLE_CHANNELS.name) {
            true => Shuffles::of(graph),
            false => Shuffles::none(),
        }
    }
}

impl Pass for ChannelsLast<'_> {
    fn name(&self) -> &'static str {
        "channels last"
    }

    fn requires(&self, graph: &Graph) -> Result<(), String> {
        match graph.nodes.iter().find(|n| n.domain == Domain::Alternative) {
            Some(node) => Err(format!("node `{}` is an alternative, which stands for an operator that a kernel may compute", node.name)),
            None => Ok(()),
        }
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let mut next = graph.successor();
        let mut copy = Rebuild::new(graph, &mut next);
        let kinds = Kinds(self.images);
        let images = graph.inputs.iter().copied().filter(|&v| kinds.is_image(graph.ty(v))).collect();
        let mut layouts = Layouts { kinds, images, last: HashMap::new() };
        let shuffles = self.shuffles(graph);
        let done = copy.run(|r, node| {
            let view = View { graph: r.source(), node };
            if layouts.skips(node, &shuffles) {
                Ok(Becomes::Nothing)
            } else if let Some((image, order)) = layouts.shuffles(node, &shuffles) {
                layouts.permuted(r, node, image, order)
            } else if let Some(order) = moved_axes(&view).filter(|order| layouts.lies_moved(r.source(), node, order)) {
                layouts.seen_moved(r, node, &order)
            } else if let Some((_, kernel)) = self.kernels.iter().find(|(ty, k)| k.computes(&view, *ty) && layouts.has_images(k, node)) {
                layouts.native(r, node, kernel)
            } else if layouts.takes_part(r.source(), node) {
                layouts.elementwise(r, node)
            } else if let Some(reordered) = layouts.reordered(&view) {
                layouts.along_axes(r, node, reordered)
            } else {
                node.used().try_for_each(|v| layouts.channels_first(r, v).map(drop))?;
                Ok(Becomes::Itself)
            }
        });
        done.and_then(|()| graph.outputs.iter().try_for_each(|&v| layouts.channels_first(&mut copy, v).map(drop)))
            .and_then(|()| copy.ports())
            .map_err(Error::internal)?;
        *graph = next;
        Ok(())
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        let kinds = Kinds(self.images);
        for node in graph.nodes.iter().filter(|n| n.domain != Domain::Native) {
            // Its axes are those of what lies here by now.
            let goes_along = is_elementwise(node) || reordered(&View { graph, node }, &[0, 1, 2, 3]).is_some();
            // Of what gives no image, as a sum over places, that which it reads.
            let image = node.outputs.iter().copied().chain(node.used()).find(|&v| kinds.is_image(graph.ty(v)));
            let layout = image.filter(|_| goes_along).map_or(Layout::Onnx, |v| graph.value(v).layout);
            let differs = |v: &ValueId| kinds.is_image(graph.ty(*v)) && graph.value(*v).layout != layout && !kinds.is_number(graph.ty(*v));
            if kinds.shows_the_same(graph, node) {
                continue;
            }
            if let Some(v) = node.used().chain(node.outputs.iter().copied()).find(differs) {
                return Err(format!("node `{}` meets `{}` in a layout that is not its own", node.name, graph.name_of(v)));
            }
        }
        if let Some(&v) = graph.inputs.iter().chain(&graph.outputs).find(|v| graph.value(**v).layout != Layout::Onnx) {
            return Err(format!("`{}` is an input or output and has changed its layout", graph.name_of(v)));
        }
        let kernels: Vec<&Kernel> = self.kernels.iter().map(|(_, kernel)| *kernel).collect();
        kernel::verify_layouts(graph, &kernels)
    }
}

/// Whether the node works on single elements, and so in any layout.
fn is_elementwise(node: &Node) -> bool {
    match node.domain {
        Domain::Onnx => table::find(&node.op_type).is_some_and(|o| o.facts().elementwise),
        Domain::Function => functions::find(&node.op_type).is_some_and(|f| f.elementwise),
        Domain::Alternative | Domain::Native => false,
    }
}

/// The order into which the node does nothing but put axes.
fn moved_axes(n: &View) -> Option<Vec<usize>> {
    table::find(&n.node.op_type).filter(|_| n.node.domain == Domain::Onnx)?.order(n)
}

/// A tensor's sizes in memory.
fn lying(ty: &TensorType, layout: Layout) -> Vec<Dim> {
    match (layout, &ty.shape[..]) {
        (Layout::ChannelsLast, [n, c, h, w]) => vec![*n, *h, *w, *c],
        (Layout::ChannelsLast, [c, h, w]) => vec![*h, *w, *c],
        _ => ty.shape.clone(),
    }
}

/// What the node is on images whose axes lie in that order.
fn reordered(n: &View, order: &[usize]) -> Option<Reordered> {
    let operator = table::find(&n.node.op_type).filter(|_| n.node.domain == Domain::Onnx)?;
    operator.reordered(n, order)
}

/// Height and width of an image.
fn places(ty: &TensorType) -> Option<Vec<i64>> {
    ty.shape.iter().skip(2).map(|d| d.known().and_then(|n| i64::try_from(n).ok())).collect()
}

/// What images are made of.
#[derive(Clone, Copy)]
struct Kinds<'k>(&'k [Images]);

impl Kinds<'_> {
    fn of(self, ty: &TensorType) -> Option<Images> {
        self.0.iter().copied().find(|images| images.dtype == ty.dtype)
    }

    fn is_image(self, ty: &TensorType) -> bool {
        ty.rank() == 4 && self.of(ty).is_some()
    }

    /// A single number, which has no layout.
    fn is_number(self, ty: &TensorType) -> bool {
        ty.rank() <= 4 && ty.shape.iter().all(|&d| d == Dim::Known(1)) && self.of(ty).is_some()
    }

    /// Images of one pixel, or a number for each channel, which lie alike in both layouts.
    fn is_pixel(self, ty: &TensorType) -> bool {
        matches!(*ty.shape, [.., _, Dim::Known(1), Dim::Known(1)]) && ty.rank() <= 4 && self.of(ty).is_some()
    }

    /// Whether a tensor has a number for each channel of an image, of each or of all images.
    fn is_gate(self, ty: &TensorType, image: &TensorType) -> bool {
        let channel = |at: usize| ty.shape.get(at) == image.shape.get(1);
        self.is_pixel(ty)
            && match ty.rank() {
                3 => channel(0),
                4 => channel(1) && (ty.shape.first() == Some(&Dim::Known(1)) || ty.shape.first() == image.shape.first()),
                _ => false,
            }
    }

    /// Whether the node shows an image in another layout, or as a tensor whose last axis is that of the channels, with all elements where they were.
    fn shows_the_same(self, graph: &Graph, node: &Node) -> bool {
        let ([Some(x), ..], [y]) = (&node.inputs[..], &node.outputs[..]) else { return false };
        let lies = |v: ValueId| lying(graph.ty(v), graph.value(v).layout);
        let pixel = graph.ty(*x) == graph.ty(*y) && self.is_pixel(graph.ty(*x));
        node.is("Reshape") && (pixel || lies(*x) == lies(*y))
    }
}

/// What is known of the source's images.
struct Layouts<'k> {
    kinds: Kinds<'k>,
    /// Those that came from outside, or that were computed with their channels last.
    images: HashSet<ValueId>,
    /// What stands for an image with its channels last. What stands for it as ONNX has it is its place in the copy.
    last: HashMap<ValueId, ValueId>,
}

type Rule<T> = std::result::Result<T, String>;

impl Layouts<'_> {
    /// Whether the images that a kernel wants to find as such are some.
    fn has_images(&self, kernel: &Kernel, node: &Node) -> bool {
        let wanted = kernel.inputs.iter().zip(&node.inputs).filter(|(port, _)| matches!(port, Port::Image | Port::FurtherImage));
        wanted.filter_map(|(_, v)| *v).all(|v| self.images.contains(&v))
    }

    /// Whether the node works on elements of images alone, at least one of which has its channels last already. All operands of a
    /// function have one shape; those of an operator must be images, numbers for each channel, or single numbers.
    fn takes_part(&self, graph: &Graph, node: &Node) -> bool {
        let image = node.outputs.first().map(|&o| graph.ty(o));
        let gate = |v: ValueId| image.is_some_and(|image| self.kinds.is_gate(graph.ty(v), image));
        let fits = |v: ValueId| self.images.contains(&v) || self.kinds.is_number(graph.ty(v)) || gate(v);
        is_elementwise(node)
            && node.used().any(|v| self.last.contains_key(&v))
            && (node.domain == Domain::Function || node.used().all(fits))
            && node.outputs.iter().all(|&o| self.kinds.is_image(graph.ty(o)))
    }

    /// How the node works on its images with their channels last, where all tensors of its are such images or settings, and one lies so already.
    fn reordered(&self, n: &View) -> Option<Reordered> {
        let mut images = n.node.used().filter(|&v| self.kinds.is_image(n.graph.ty(v))).peekable();
        images.peek()?;
        let all = images.all(|v| self.images.contains(&v));
        let settings =
            |v: ValueId| self.kinds.is_image(n.graph.ty(v)) || self.kinds.is_number(n.graph.ty(v)) || !n.graph.ty(v).dtype.is_float();
        let fits = all && n.node.used().all(settings) && n.node.used().any(|v| self.last.contains_key(&v));
        if fits { reordered(n, &CHANNELS_LAST) } else { None }
    }

    /// The same node along the axes where those of its images lie.
    fn along_axes(&mut self, r: &mut Rebuild, node: &Node, reordered: Reordered) -> Rule<Becomes> {
        let (source, kinds) = (r.source(), self.kinds);
        let mut inputs = self.inputs(r, &node.inputs, |i| node.input(i).is_some_and(|v| kinds.is_image(source.ty(v))))?;
        for (i, tensor) in reordered.constants {
            let name = r.graph.fresh(&format!("{}/reordered", node.name));
            let constant = r.graph.constant_as(&name, tensor);
            inputs.iter_mut().skip(i).take(1).for_each(|input| *input = Some(constant));
        }
        let image = |i: usize| node.outputs.get(i).is_some_and(|&o| kinds.is_image(source.ty(o)));
        Ok(self.give(r, Node { inputs, attrs: reordered.attrs, ..node.clone() }, node, image))
    }

    /// Whether the node is but a step to a permutation of channels that a kernel will compute.
    fn skips(&self, node: &Node, shuffles: &Shuffles) -> bool {
        let image = node.outputs.first().and_then(|&o| shuffles.between(o));
        image.is_some_and(|image| self.last.contains_key(&image))
    }

    /// The image with its channels last whose channels the node's result is, and in which order.
    fn shuffles<'s>(&self, node: &Node, shuffles: &'s Shuffles) -> Option<(ValueId, &'s [i64])> {
        shuffles.order(*node.outputs.first()?).filter(|(image, _)| self.last.contains_key(image))
    }

    /// The kernel that permutes channels.
    fn permuted(&mut self, r: &mut Rebuild, node: &Node, image: ValueId, order: &[i64]) -> Rule<Becomes> {
        let (from, attrs) = (self.channels_last(r, image)?, Attrs::from([(ORDER.to_string(), Attr::Ints(order.to_vec()))]));
        let put = Node::new(&node.name, SHUFFLE_CHANNELS.name, vec![Some(from)], attrs);
        Ok(self.give(r, Node { domain: Domain::Native, ..put }, node, |_| true))
    }

    /// Whether an image that lies with its channels last, or a tensor that lies as such an image would, is what the node makes of its input.
    fn lies_moved(&self, graph: &Graph, node: &Node, order: &[usize]) -> bool {
        let ([Some(x)], [y]) = (&node.inputs[..], &node.outputs[..]) else { return false };
        let lies = self.last.contains_key(x);
        order == CHANNELS_LAST && lies || order == CHANNELS_FIRST && !lies && self.kinds.is_image(graph.ty(*y))
    }

    /// The node's result, without moving an element.
    fn seen_moved(&mut self, r: &mut Rebuild, node: &Node, order: &[usize]) -> Rule<Becomes> {
        let ([Some(x)], [y]) = (&node.inputs[..], &node.outputs[..]) else { return Ok(Becomes::Itself) };
        let (source, name) = (r.source(), r.source().name_of(*y));
        if order == CHANNELS_LAST {
            let from = self.channels_last(r, *x)?;
            let here = shown(r, from, (name.to_string(), source.ty(*y).clone()), &source.ty(*y).shape)?;
            r.put(*y, here);
        } else {
            let (from, name) = (self.channels_first(r, *x)?, last_name(r, name));
            let here = shown(r, from, (name, source.ty(*y).clone()), &source.ty(*x).shape)?;
            self.images.insert(*y);
            self.found(r, *y, here);
        }
        Ok(Becomes::Nothing)
    }

    /// The image with its channels last, for which a node is added where it is missing.
    fn channels_last(&mut self, r: &mut Rebuild, v: ValueId) -> Rule<ValueId> {
        if let Some(&here) = self.last.get(&v) {
            return Ok(here);
        }
        let (from, name, ty) = (r.get(v)?, last_name(r, r.source().name_of(v)), r.source().ty(v));
        let here = match self.kinds.is_pixel(ty) {
            true => shown(r, from, (name, ty.clone()), &lying(ty, Layout::ChannelsLast))?,
            false => moved(r, self.kinds.of(ty).map(|images| images.to_last), from, name, v)?,
        };
        self.found(r, v, here);
        Ok(here)
    }

    /// Notes what stands for an image with its channels last.
    fn found(&mut self, r: &mut Rebuild, v: ValueId, here: ValueId) {
        r.graph.value_mut(here).layout = Layout::ChannelsLast;
        self.last.insert(v, here);
    }

    /// The value as ONNX has it, for which a node is added where it is missing.
    fn channels_first(&mut self, r: &mut Rebuild, v: ValueId) -> Rule<ValueId> {
        if let (None, Some(&here)) = (r.at(v), self.last.get(&v)) {
            let (name, ty) = (r.source().name_of(v).to_string(), r.source().ty(v));
            let first = match self.kinds.is_pixel(ty) {
                true => shown(r, here, (name, ty.clone()), &ty.shape)?,
                false => moved(r, self.kinds.of(ty).map(|images| images.to_first), here, name, v)?,
            };
            r.put(v, first);
        }
        r.get(v)
    }

    /// The kernel's node in the place of `node`.
    fn native(&mut self, r: &mut Rebuild, node: &Node, kernel: &Kernel) -> Rule<Becomes> {
        // What a kernel has no port for, as axes, it covers with one value alone.
        let read = node.inputs.get(..kernel.inputs.len()).unwrap_or(&node.inputs);
        let mut inputs = self.inputs(r, read, |i| kernel.inputs.get(i).is_some_and(|p| p.is_image()))?;
        if let Some((Port::Others, before)) = kernel.inputs.split_last() {
            // ONNX Runtime asks for all that come before those, empty ones too.
            inputs.resize(before.len(), None);
        }
        let mut put = Node { domain: Domain::Native, ..Node::new(&node.name, kernel.name, inputs, node.attrs.clone()) };
        put.attrs.extend((kernel.extras.told)(&View { graph: r.source(), node }));
        if kernel.extras.sized
            && let Some(size) = node.outputs.first().and_then(|&o| places(r.source().ty(o)))
        {
            put.attrs.insert(SIZE.into(), Attr::Ints(size));
        }
        Ok(self.give(r, put, node, |i| kernel.outputs.get(i).is_some_and(|p| p.is_image())))
    }

    /// The same node on images with their channels last.
    fn elementwise(&mut self, r: &mut Rebuild, node: &Node) -> Rule<Becomes> {
        let number = |v: &ValueId| self.kinds.is_number(r.source().ty(*v)) && !self.last.contains_key(v);
        let numbers: Vec<bool> = node.inputs.iter().map(|v| v.as_ref().is_some_and(number)).collect();
        let inputs = self.inputs(r, &node.inputs, |i| numbers.get(i) != Some(&true))?;
        Ok(self.give(r, Node { inputs, ..node.clone() }, node, |_| true))
    }

    /// What stands for inputs of a node, with their channels last where `image` says so.
    fn inputs(&mut self, r: &mut Rebuild, inputs: &[Option<ValueId>], image: impl Fn(usize) -> bool) -> Rule<Vec<Option<ValueId>>> {
        let mut place = |i: usize, v: ValueId| if image(i) { self.channels_last(r, v) } else { self.channels_first(r, v) };
        inputs.iter().enumerate().map(|(i, v)| v.map(|v| place(i, v)).transpose()).collect()
    }

    /// Adds a node whose outputs stand for those of `node`, as images with their channels last where `image` says so.
    fn give(&mut self, r: &mut Rebuild, put: Node, node: &Node, image: impl Fn(usize) -> bool) -> Becomes {
        let mut outputs = r.outputs(node);
        for (_, (name, _)) in outputs.iter_mut().enumerate().filter(|(i, _)| image(*i)) {
            *name = last_name(r, name);
        }
        let made = r.node(put, outputs);
        for (i, (&v, here)) in node.outputs.iter().zip(made).enumerate() {
            if image(i) {
                self.images.insert(v);
                self.found(r, v, here);
            } else {
                r.put(v, here);
            }
        }
        Becomes::Nothing
    }
}

/// A name for an image with its channels last.
fn last_name(r: &mut Rebuild, name: &str) -> String {
    r.graph.fresh(&format!("{name}:channels_last"))
}

/// Adds a node that shows all elements of a value in another shape, with them where they are.
fn shown(r: &mut Rebuild, from: ValueId, (name, ty): (String, TensorType), shape: &[Dim]) -> Rule<ValueId> {
    let sizes = reshape::spelled(shape)?;
    let attrs = Attrs::from([("allowzero".to_string(), Attr::Int(sizes.contains(&0) as i64))]);
    let constant = r.graph.fresh(&format!("{name}/shape"));
    let sizes = r.graph.constant_as(&constant, Tensor::from_i64(&[sizes.len()], &sizes));
    let node = Node::new(r.graph.fresh("Reshape"), "Reshape", vec![Some(from), Some(sizes)], attrs);
    Ok(r.single(node, (name, ty)))
}

/// Adds a node that changes the layout of what stands for `v`. It stands for no node of the source, so its name has no path, as those
/// of a runtime's own nodes.
fn moved(r: &mut Rebuild, kernel: Option<&Kernel>, from: ValueId, name: String, v: ValueId) -> Rule<ValueId> {
    let kernel = kernel.ok_or_else(|| format!("`{name}` is made of what no image is"))?;
    let node = Node::new(r.graph.fresh(kernel.name), kernel.name, vec![Some(from)], Default::default());
    Ok(r.single(Node { domain: Domain::Native, ..node }, (name, r.source().ty(v).clone())))
}
