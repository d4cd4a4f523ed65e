//! What is true of an operator in every network, for those who must not know operators by name.

use crate::ir::{Dim, product};

/// Facts about an operator. Most are false of most operators: `Facts { view: true, ..Facts::NONE }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Every element of the result depends on the elements at the same place alone, after broadcasting: the operator may work in any
    /// layout of memory that its operands share. Says nothing of types; a comparison gives booleans.
    pub elementwise: bool,
    /// The first result has the bytes of the first input, under another shape at most.
    pub view: bool,
    /// The first result has the elements of the first input, each once, in another order.
    pub reorders: bool,
    /// The results' elements are some of the inputs', whatever their type: they are moved and no more.
    pub moves: bool,
    /// Runtimes let it write its result over one of its first two inputs.
    pub in_place: bool,
    /// Gives every class its own result, so that it may stand between a classifier and the network's output. Not what features go through as
    /// well, such as a rectifier: what it stands behind is then no classifier.
    pub keeps_classes: bool,
    /// A nonlinearity behind a layer, whose results are the network's activations.
    pub activation: bool,
    /// Works on each entry of its first axis by itself, whatever its attributes say.
    pub by_image: bool,
    /// Where no number of the first input is negative, none of the first result is.
    pub keeps_sign: bool,
    /// What it computes, where someone looks for that.
    pub meaning: Meaning,
    /// Of an operator that normalizes.
    pub normalization: Option<Normalization>,
    /// What it does with numbers of half precision.
    pub half: Half,
}

impl Facts {
    /// Of an operator about which nothing special is known.
    pub const NONE: Facts = Facts {
        elementwise: false,
        view: false,
        reorders: false,
        moves: false,
        in_place: false,
        keeps_classes: false,
        activation: false,
        by_image: false,
        keeps_sign: false,
        meaning: Meaning::Other,
        normalization: None,
        half: Half::Never,
    };

    /// Whether the first result has the elements of the first input, each once: under another shape or in another order at most.
    pub fn keeps_elements(&self) -> bool {
        self.view || self.reorders
    }

    /// [`Operator::source_axis`](super::Operator::source_axis) of an operator with these facts, of its input `i` and its first result.
    // Once for all operators, and not in each one's table of methods.
    pub(super) fn source_axis(&self, i: usize, from: &[Dim], to: &[Dim], axis: usize) -> Option<usize> {
        match i {
            _ if self.elementwise => (from == to).then_some(axis),
            0 if self.normalization.is_some() => Some(axis),
            0 if self.view => {
                let before = product(to.get(..axis)?)?;
                (0..from.len()).find(|&a| from.get(..a).and_then(product) == Some(before) && from.get(a) == to.get(axis))
            }
            _ => None,
        }
    }

    /// Of a function on single elements.
    pub const ELEMENTWISE: Facts = Facts { elementwise: true, half: Half::Rounded, ..Facts::NONE };

    /// Of a function on single elements that runtimes compute in place.
    pub const IN_PLACE: Facts = Facts { in_place: true, ..Facts::ELEMENTWISE };

    /// The same facts of a nonlinearity behind layers.
    pub const fn of_activation(self) -> Facts {
        Facts { activation: true, ..self }
    }

    /// The same facts of an operator that makes nothing negative of what is not.
    pub const fn keeping_sign(self) -> Facts {
        Facts { keeps_sign: true, ..self }
    }

    /// The same facts of an operator that does something else with half precision.
    pub const fn with_half(self, half: Half) -> Facts {
        Facts { half, ..self }
    }

    /// Of an operator that moves or picks elements in a way that nobody else needs to know of.
    pub const PICKS: Facts = Facts::NONE.with_half(Half::Exact);
}

/// What an operator does with numbers of half precision, where a training is in mixed precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Multiplies factors of half precision, adds the products up in float32 and rounds the sums once: a convolution, a matrix product.
    Product,
    /// Computes on what it gets, and rounds nothing: it moves or picks elements, or compares them.
    Exact,
    /// Computes on what it gets, and rounds each result once. Results are no larger than operands by orders of magnitude.
    Rounded,
    /// Computes in float32, and gives half precision back where it got that: normalizations, probabilities.
    Within,
    /// Reads and gives float32: sums over many elements, and what can leave the range of float16.
    Never,
}

/// What an operator computes, where others look for just that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing that is looked for.
    Other,
    /// Its input.
    Identity,
    /// The sum of its inputs.
    Sum,
    /// `max(0, x)`.
    Rectifier,
    /// The difference of its two inputs.
    Difference,
    /// The product of its inputs, element by element.
    Product,
    /// The quotient of its two inputs.
    Quotient,
    /// `1 / x`.
    Reciprocal,
    /// `−x`.
    Negation,
    /// Its first input, cut off at the operator's [`bounds`](super::Operator::bounds).
    Bounds,
    /// The largest of its inputs, element by element.
    Largest,
    /// The smallest of them.
    Smallest,
    /// `eˣ`.
    Exponential,
    /// `log x`.
    Logarithm,
    /// `1 / (1 + e⁻ˣ)`.
    Logistic,
    /// What only resembles a probability: between 0 and 1, and of no logarithm that a loss knows.
    Squashed,
    /// The sum over the axes that [`along`](super::Operator::along) gives.
    Total,
    /// The mean over them.
    Mean,
    /// The sum of the squares over them.
    TotalOfSquares,
    /// The logarithm of such a sum of exponentials.
    LogTotal,
    /// Its input in another element type.
    Conversion,
    /// Probabilities of classes from logits, which sum to 1 over the axes that [`along`](super::Operator::along) gives.
    Probabilities,
    /// Their logarithms.
    LogProbabilities,
    /// A matrix product with a kernel.
    MatrixProduct,
    /// A convolution with a kernel.
    Convolution,
    /// A convolution turned around.
    TransposedConvolution,
}

impl Meaning {
    /// Whether a constant for each channel that is added to the result is a layer's bias.
    pub fn takes_bias(self) -> bool {
        matches!(self, Meaning::MatrixProduct | Meaning::Convolution)
    }
}

/// Over what an operator normalizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// Over the images of a batch while it is trained, by running statistics otherwise.
    Batch,
    /// Over parts of each image by itself, always.
    Sample,
}

/// What a constant that enters a node stands for, where it is a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// The weight of a convolution or matrix product; `axis` runs over the output channels.
    Kernel {
        /// Counted from 0.
        axis: usize,
    },
    /// What a weight is made of, in a form that has no axis for the output channels.
    KernelPart,
    /// What is added to each output channel.
    Bias,
    /// The factor of a normalization.
    Scale,
    /// The addend of a normalization.
    Shift,
    /// A running mean: written by the forward pass, not by the optimizer.
    Mean,
    /// A running variance, likewise.
    Variance,
    /// What a value is multiplied with, or divided by: a gain of a channel, of a token or of a whole branch.
    Factor,
    /// What is added to a value that is no matrix product or convolution: a positional bias, for example.
    Addend,
    /// Any other operand: a class token, an exponent, a slope.
    Operand,
}

impl ParameterKind {
    /// Whether it is a statistic and no trainable parameter.
    pub fn is_buffer(self) -> bool {
        matches!(self, ParameterKind::Mean | ParameterKind::Variance)
    }

    /// Whether it is the weight of a convolution or matrix product, or what that is made of.
    pub fn is_weight(self) -> bool {
        matches!(self, ParameterKind::Kernel { .. } | ParameterKind::KernelPart)
    }

    /// Whether the place alone says that a constant there is a parameter. Elsewhere it may be a number of a formula.
    pub fn is_of_layer(self) -> bool {
        !matches!(self, ParameterKind::Factor | ParameterKind::Addend | ParameterKind::Operand)
    }

    /// [`name`](Self::name) with its article.
    pub fn a_name(self) -> String {
        let name = self.name();
        format!("{} {name}", if name.starts_with('a') { "an" } else { "a" })
    }

    /// What it is called, for people.
    pub fn name(self) -> &'static str {
        match self {
            ParameterKind::Kernel { .. } | ParameterKind::KernelPart => "weight",
            ParameterKind::Bias => "bias",
            ParameterKind::Scale => "scale",
            ParameterKind::Shift => "shift",
            ParameterKind::Mean => "mean",
            ParameterKind::Variance => "variance",
            ParameterKind::Factor => "factor",
            ParameterKind::Addend => "addend",
            ParameterKind::Operand => "constant",
        }
    }
}

/// Where the output channels of an operator with a kernel lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputChannels {
    /// The axis of the output along which they lie.
    pub axis: usize,
    /// Into how many blocks the kernel's first axis falls, each with output channels of its own: the groups of a transposed convolution,
    /// whose kernel is `[inputs, outputs / groups, …]`; otherwise 1.
    pub blocks: usize,
}
