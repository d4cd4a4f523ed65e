//! What passes know of native operators: rows of data, which the engine that has the kernels fills in.

use crate::ir::{Attrs, DType, Dim, Domain, Graph, Layout, Node, TensorType};
use crate::operator::{Function, View};

/// One native operator.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    /// Its name in the domain [`Domain::Native`].
    pub name: &'static str,
    /// What it takes the place of, with the same attributes.
    pub replaces: Replaces,
    /// Whether it computes what the node asks for, whose name and types are right.
    pub covers: fn(&View) -> bool,
    /// Those of the node, then those for what it does besides.
    pub inputs: &'static [Port],
    /// Likewise.
    pub outputs: &'static [Port],
    /// What it can do besides.
    pub extras: Extras,
}

/// What a kernel takes the place of.
#[derive(Debug, Clone, Copy)]
pub enum Replaces {
    /// An operator of ONNX.
    Operator(&'static str),
    /// A function of spgraph's.
    Function(&'static Function),
    /// Nothing in a graph: passes put it in for its own sake.
    Nothing,
}

/// A tensor of a native operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// An image, which lies with its channels last. An input is one already, or comes from outside: to change the layout of another is more
    /// than the operator saves.
    Image,
    /// An image whatever it takes to bring it there.
    BroughtImage,
    /// An image that may be left out.
    OptionalImage,
    /// The same, and one already where it is there.
    FurtherImage,
    /// Any other tensor.
    Plain,
    /// Any other tensor, which may be left out.
    OptionalPlain,
    /// A tensor of any kind, which may be left out and lies as the first output does, where that makes a difference.
    Alike,
    /// Any number of tensors, the last inputs, which need only be there before the operator runs.
    Others,
}

impl Port {
    /// Whether it lies with its channels last.
    pub fn is_image(self) -> bool {
        matches!(self, Port::Image | Port::BroughtImage | Port::OptionalImage | Port::FurtherImage)
    }

    /// Whether it may be left out.
    pub fn is_optional(self) -> bool {
        matches!(self, Port::OptionalImage | Port::FurtherImage | Port::OptionalPlain | Port::Alike)
    }
}

/// What a kernel can do besides, without another pass over memory. Numbers are places among its inputs and outputs.
#[derive(Debug, Clone, Copy)]
pub struct Extras {
    /// With the attribute [`RECTIFIED`], negative values of the first output become 0, after the addend; with [`CEILING`] those above it become
    /// that.
    pub rectifies: bool,
    /// An image that is added to the first output.
    pub addend: Option<usize>,
    /// An image where the first output becomes 0 unless that is positive and, with the attribute [`CEILING`], below it; after the addend.
    pub mask: Option<usize>,
    /// Gives the sum of every channel of an input: the input, and the output.
    pub channel_sums: Option<(usize, usize)>,
    /// Quadratic penalties on the first input that it can add to its gradient.
    pub penalties: Option<Penalties>,
    /// With the attribute [`SIZE`], it is told how high and wide the first output is, an image which no input is as large as.
    pub sized: bool,
    /// Attributes that it needs besides the node's, of what the node has as constants.
    pub told: fn(&View) -> Attrs,
    /// Pairs of an input and an output that may have the same buffer, where the attribute `replaces` says so. It is there where
    /// everybody else who reads the input is known to be through.
    pub replaces: &'static [(usize, usize)],
}

impl Extras {
    /// Of a kernel that does its own work alone.
    pub const NONE: Extras = Extras {
        rectifies: false,
        addend: None,
        mask: None,
        channel_sums: None,
        penalties: None,
        sized: false,
        told: |_| Attrs::new(),
        replaces: &[],
    };
}

/// How a kernel adds a penalty: one of the functions `(w, …, strength) → value, gradient` with its first input.
#[derive(Debug, Clone, Copy)]
pub struct Penalties {
    /// The functions.
    pub functions: &'static [&'static Function],
    /// The input to whose value the penalty's gradient is added.
    pub gradient: usize,
    /// The input with the strength; what the function reads between `w` and that comes behind it.
    pub strength: usize,
    /// The output with the penalty's value.
    pub value: usize,
}

/// The attribute of a kernel that rectifies its first output.
pub const RECTIFIED: &str = "relu";
/// The attribute with the largest value of a kernel that rectifies, or whose mask a rectifier with this largest value gave.
pub const CEILING: &str = "ceiling";
/// The attribute with height and width of a kernel's first output.
pub const SIZE: &str = "image_size";
/// The attribute of a kernel with the channel of its image that each channel of its result is.
pub const ORDER: &str = "order";
/// The attribute of a kernel with the channels at which parts begin, and the one behind the last.
pub const RANGES: &str = "channels";
/// The attribute of a kernel whose outputs may have its inputs' buffers.
pub const REPLACES: &str = "replaces";

/// The image `[N, C, H, W]` as `[N, H, W, C]`.
pub const TO_CHANNELS_LAST: Kernel = Kernel {
    name: "ToChannelsLast",
    replaces: Replaces::Nothing,
    covers: |_| false,
    inputs: &[Port::Plain],
    outputs: &[Port::Image],
    extras: Extras::NONE,
};

/// The image `[N, H, W, C]` as `[N, C, H, W]`.
pub const TO_CHANNELS_FIRST: Kernel = Kernel {
    name: "ToChannelsFirst",
    replaces: Replaces::Nothing,
    covers: |_| false,
    inputs: &[Port::BroughtImage],
    outputs: &[Port::Plain],
    extras: Extras::NONE,
};

/// Images of float32.
pub const FLOAT_IMAGES: Images = Images { dtype: DType::F32, to_last: &TO_CHANNELS_LAST, to_first: &TO_CHANNELS_FIRST };

/// The image with its channels in another order, by the attribute [`ORDER`].
pub const SHUFFLE_CHANNELS: Kernel = Kernel {
    name: "ShuffleChannels",
    replaces: Replaces::Nothing,
    covers: |_| false,
    inputs: &[Port::Image],
    outputs: &[Port::Image],
    extras: Extras::NONE,
};

impl Kernel {
    /// Whether it computes the node, with images of that type.
    pub fn computes(&self, n: &View, images: DType) -> bool {
        let named = match self.replaces {
            Replaces::Operator(name) => n.node.is(name),
            Replaces::Function(function) => n.node.is_of(Domain::Function, function.name),
            Replaces::Nothing => false,
        };
        let read = || self.inputs.iter().enumerate().filter(|(_, p)| p.is_image()).filter_map(|(i, _)| n.input(i));
        let given = || self.outputs.iter().zip(&n.node.outputs).filter(|(p, _)| p.is_image()).map(|(_, v)| *v);
        let fits = |ty: &TensorType| ty.dtype == images && ty.rank() == 4;
        named && read().chain(given()).all(|v| fits(n.graph.ty(v))) && (self.covers)(n)
    }

    /// Whether it works on images.
    pub fn has_images(&self) -> bool {
        self.inputs.iter().chain(self.outputs).any(|p| p.is_image())
    }
}

/// The images of one type of elements.
#[derive(Debug, Clone, Copy)]
pub struct Images {
    /// That of the elements.
    pub dtype: DType,
    /// Brings the channels of such an image to the end.
    pub to_last: &'static Kernel,
    /// And back.
    pub to_first: &'static Kernel,
}

/// Whether it is the type of images that the processor's kernels know.
pub fn is_image(ty: &TensorType) -> bool {
    ty.dtype == DType::F32 && ty.rank() == 4
}

/// Whether a tensor lies alike in both layouts, since it has no places.
pub(super) fn lies_alike(ty: &TensorType) -> bool {
    ty.shape.iter().skip(2).all(|&d| d == Dim::Known(1))
}

/// The kernel of a native node.
pub fn of<'k>(kernels: &[&'k Kernel], node: &Node) -> Option<&'k Kernel> {
    kernels.iter().copied().find(|k| node.is_of(Domain::Native, k.name))
}

/// Checks that every kernel gets images with their channels last where it wants them, and nowhere else.
pub fn verify_layouts(graph: &Graph, kernels: &[&Kernel]) -> Result<(), String> {
    for node in graph.nodes.iter().filter(|n| n.domain == Domain::Native) {
        let kernel = of(kernels, node).ok_or_else(|| format!("node `{}`: there is no kernel `{}`", node.name, node.op_type))?;
        let placed = kernel.inputs.iter().filter(|p| **p != Port::Others).count();
        if node.inputs.len() > placed && placed == kernel.inputs.len() || node.outputs.len() > kernel.outputs.len() {
            return Err(format!("node `{}` has more inputs or outputs than its kernel", node.name));
        }
        let inputs = kernel.inputs.iter().take(placed).zip(&node.inputs).filter_map(|(&port, v)| Some((port, (*v)?)));
        for (port, value) in inputs.chain(kernel.outputs.iter().copied().zip(node.outputs.iter().copied())) {
            let (here, first) = (graph.value(value).layout, node.outputs.first().map(|&o| graph.value(o).layout));
            let right = match port {
                Port::Alike => Some(here) == first || lies_alike(graph.ty(value)),
                _ => port.is_image() == (here == Layout::ChannelsLast),
            };
            if !right {
                return Err(format!("node `{}` has `{}` in another layout than its kernel", node.name, graph.name_of(value)));
            }
        }
    }
    Ok(())
}
