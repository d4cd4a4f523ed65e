//! A convolution and its gradients, each by the form that suits its shape.

use super::disjoint_slice::{DisjointSlice, with_scratch};
use super::epilogue::Epilogue;
use super::gather::{ConvGeometry, Gather};
use super::halves::convert;
use super::pack::{Factors, matrices_of, pack_backward, pack_forward};
use super::product::{Side, product};
use super::{Cores, Element, narrow, weight_grad, winograd};
use std::sync::OnceLock;

/// With at most this many channels, the taps of a kernel's line are merged: pixels that lie side by side are one longer row.
const FEW_CHANNELS: usize = 16;
/// Channels that a group should have on both sides: narrower ones are computed together, with zeros between their weights.
const WIDE: usize = 32;

/// How a convolution is computed.
enum Form {
    Direct,
    /// The same with merged taps, over images with their padding written out.
    Merged(ConvGeometry),
    Winograd,
    /// Narrow groups, from the definition.
    Narrow,
    /// Several groups as one.
    Joined(Box<ConvPlan>),
}

/// One convolution with what is computed once for its shape.
pub struct ConvPlan {
    conv: ConvGeometry,
    form: Form,
    forward: OnceLock<Gather>,
    backward: OnceLock<Vec<Gather>>,
}

impl ConvPlan {
    pub fn new(conv: ConvGeometry) -> ConvPlan {
        let form = if winograd::covers(&conv) {
            Form::Winograd
        } else if narrow::covers(&conv) {
            Form::Narrow
        } else if let Some(groups) = joined(&conv) {
            Form::Joined(Box::new(ConvPlan::new(ConvGeometry { groups, ..conv.clone() })))
        } else if conv.groups == 1 && conv.channels <= FEW_CHANNELS && conv.kernel[1] > 1 && conv.dilations[1] == 1 {
            let reach = |axis: usize| (conv.output[axis] - 1) * conv.strides[axis] + (conv.kernel[axis] - 1) * conv.dilations[axis] + 1;
            Form::Merged(ConvGeometry {
                input: [reach(0), reach(1)],
                kernel: [conv.kernel[0], 1],
                dilations: [conv.dilations[0], 1],
                pads: [0, 0],
                run: conv.kernel[1],
                ..conv.clone()
            })
        } else {
            Form::Direct
        };
        ConvPlan { conv, form, forward: OnceLock::new(), backward: OnceLock::new() }
    }

    pub fn conv(&self) -> &ConvGeometry {
        &self.conv
    }

    /// `y = epilogue(x ∗ w)`; `x` `[N, H, W, C]`, `w` `[O, C/groups, kh, kw]`, `y` `[N, H', W', O]`.
    ///
    /// Where images are bfloat16, weights are rounded to it, products are summed in float32, and the result is rounded at the end, here as
    /// in both gradients (those of weights and bias stay float32).
    pub fn forward<E: Element>(&self, cores: &Cores, x: &[E], w: &[f32], epilogue: &Epilogue<E>, y: &mut [E]) {
        match &self.form {
            Form::Winograd if self.makes_faster::<E>(cores, self.conv.channels, self.conv.features) => {
                self.direct(cores, &self.conv, x, w, epilogue, y);
            }
            Form::Direct => self.direct(cores, &self.conv, x, w, epilogue, y),
            Form::Merged(merged) => {
                let mut weights = vec![0.0; w.len()];
                self.merged_weights().for_each(|(from, to)| weights[to] = w[from]);
                self.with_padded(cores, merged, x, |x| self.direct(cores, merged, x, &weights, epilogue, y));
            }
            Form::Winograd => winograd::convolve(cores, &self.conv, false, x, w, y, epilogue),
            Form::Narrow => narrow::convolve(cores, &self.conv, false, x, w, y, epilogue),
            Form::Joined(plan) => plan.forward(cores, x, &self.joined_weights(plan, w), epilogue, y),
        }
    }

    /// Whether pairs of bfloat16 are multiplied so fast that a product of rows takes less time than Winograd's form, which has a quarter of the
    /// products, in float32: where that has too many channels to keep its kernels in the caches, and wherever matrices are multiplied.
    fn multiplies_faster<E: Element>(&self, cores: &Cores) -> bool {
        let of_matrices = |depth: usize| matrices_of(cores.isa(), Factors::Pairs, depth).is_some();
        let by_matrices = of_matrices(self.conv.channels) && of_matrices(self.conv.features);
        E::pairs(cores.isa()).is_some() && (by_matrices || !winograd::keeps_kernels(&self.conv))
    }

    /// The same for one side made of the other. Winograd's form transforms much for few results where there are four times as many channels, as in
    /// the layers of a DenseNet.
    fn makes_faster<E: Element>(&self, cores: &Cores, from: usize, to: usize) -> bool {
        let few = E::pairs(cores.isa()).is_some() && to <= WIDE && from >= 4 * to;
        few || self.multiplies_faster::<E>(cores)
    }

    /// [`ConvPlan::forward`] of `conv` as a product of rows.
    fn direct<L: Element, O: Element>(&self, cores: &Cores, conv: &ConvGeometry, x: &[L], w: &[f32], epilogue: &Epilogue<O>, y: &mut [O]) {
        let gather = self.forward.get_or_init(|| Gather::forward(conv));
        let packed = pack_forward(cores, conv, Factors::of::<L, O>(cores.isa(), conv.depth()), w);
        let from = Side { pixels: conv.input_pixels(), channels: conv.channels };
        let to = Side { pixels: conv.output_pixels(), channels: conv.features };
        product(cores, conv.images, (x, from), gather, &packed, (DisjointSlice::new(y), to), epilogue);
    }

    /// `dx = epilogue(dy ∗ᵀ w)`.
    pub fn input_grad<E: Element>(&self, cores: &Cores, dy: &[E], w: &[f32], epilogue: &Epilogue<E>, dx: &mut [E]) {
        let conv = &self.conv;
        match &self.form {
            Form::Winograd if !self.makes_faster::<E>(cores, conv.features, conv.channels) => {
                winograd::convolve(cores, conv, true, dy, w, dx, epilogue)
            }
            Form::Narrow => narrow::convolve(cores, conv, true, dy, w, dx, epilogue),
            Form::Joined(plan) => plan.input_grad(cores, dy, &self.joined_weights(plan, w), epilogue, dx),
            Form::Direct | Form::Merged(_) | Form::Winograd => {
                let from = Side { pixels: conv.output_pixels(), channels: conv.features };
                let to = Side { pixels: conv.input_pixels(), channels: conv.channels };
                let out = DisjointSlice::new(dx);
                for gather in self.backward.get_or_init(|| Gather::backward(conv)) {
                    let packed = pack_backward(cores, conv, gather, Factors::of::<E, E>(cores.isa(), conv.width()), w);
                    product(cores, conv.images, (dy, from), gather, &packed, (out, to), epilogue);
                }
            }
        }
    }

    /// `dw = xᵀ ∗ dy`, and `db`, the sums of `dy` over pixels.
    pub fn weight_grad<E: Element>(&self, cores: &Cores, x: &[E], dy: &[E], dw: &mut [f32], db: Option<&mut [f32]>) {
        let gather = |conv: &ConvGeometry| self.forward.get_or_init(|| Gather::forward(conv));
        match &self.form {
            Form::Direct => weight_grad::weight_grad(cores, &self.conv, gather(&self.conv), x, dy, dw, db),
            Form::Merged(merged) => self.with_padded(cores, merged, x, |x| {
                weight_grad::few_channels(cores, (&self.conv, merged), gather(merged), x, dy, dw, db);
            }),
            Form::Winograd if self.multiplies_faster::<E>(cores) => {
                weight_grad::weight_grad(cores, &self.conv, gather(&self.conv), x, dy, dw, db);
            }
            Form::Winograd => winograd::weight_grad(cores, &self.conv, x, dy, dw, db),
            Form::Narrow => narrow::weight_grad(cores, &self.conv, x, dy, dw, db),
            Form::Joined(plan) => {
                let filters = self.filters(plan);
                let mut all = vec![0.0; filters.joined * self.conv.features];
                plan.weight_grad(cores, x, dy, &mut all, db);
                for (o, filter) in dw.chunks_exact_mut(filters.own).enumerate() {
                    filter.copy_from_slice(&all[filters.place(o)..][..filters.own]);
                }
            }
        }
    }

    /// Weights of groups that are computed together: `plan` has wider groups.
    fn joined_weights(&self, plan: &ConvPlan, w: &[f32]) -> Vec<f32> {
        let filters = self.filters(plan);
        let mut all = vec![0.0; filters.joined * self.conv.features];
        for (o, filter) in w.chunks_exact(filters.own).enumerate() {
            all[filters.place(o)..][..filters.own].copy_from_slice(filter);
        }
        all
    }

    fn filters(&self, plan: &ConvPlan) -> Filters {
        let [own, joined] = [&self.conv, &plan.conv].map(|conv| conv.depth() * conv.taps());
        Filters { own, joined, width: self.conv.width(), together: self.conv.groups / plan.conv.groups }
    }

    /// Pairs of positions: in `[O, C, kh, kw]`, and in `[O, kw·C, kh, 1]`.
    fn merged_weights(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let ConvGeometry { features, channels, kernel: [high, wide], .. } = self.conv;
        (0..features * channels * high * wide).map(move |at| {
            let (x, rest) = (at % wide, at / wide);
            let (y, rest) = (rest % high, rest / high);
            let (c, o) = (rest % channels, rest / channels);
            (at, ((o * wide + x) * channels + c) * high + y)
        })
    }

    /// Calls `work` with the images with zeros around them, cut to what the convolution reads, as float32.
    fn with_padded<E: Element>(&self, cores: &Cores, to: &ConvGeometry, x: &[E], work: impl FnOnce(&[f32])) {
        let from = &self.conv;
        let (line, image) = (to.input[1] * to.channels, to.input_pixels() * to.channels);
        let left = (from.pads[1] * to.channels).min(line);
        let width = from.input[1].min(to.input[1].saturating_sub(from.pads[1])) * from.channels;
        let isa = cores.isa();
        with_scratch(to.images * image, |padded| {
            let out = DisjointSlice::new(padded);
            cores.run(to.images * to.input[0], &|task| {
                let (n, y) = (task / to.input[0], task % to.input[0]);
                // SAFETY: every task has one line of one image.
                let to = unsafe { out.part(task * line, line) };
                match y.checked_sub(from.pads[0]).filter(|&y| y < from.input[0]) {
                    None => to.fill(0.0),
                    Some(y) => {
                        to[..left].fill(0.0);
                        let line = &x[(n * from.input_pixels() + y * from.input[1]) * from.channels..][..width];
                        convert(isa, line, &mut to[left..left + width]);
                        to[left + width..].fill(0.0);
                    }
                }
            });
            work(padded);
        });
    }
}

/// Where an output channel's filter lies in that of several groups together: beside zeros for the other groups' channels.
struct Filters {
    /// Elements of a filter of one group, and of several.
    own: usize,
    joined: usize,
    /// Output channels of a group.
    width: usize,
    /// Groups that are one.
    together: usize,
}

impl Filters {
    fn place(&self, o: usize) -> usize {
        o * self.joined + o / self.width % self.together * self.own
    }
}

/// How many groups remain where narrow ones are joined; `None` where they are wide enough or do not fit together.
fn joined(conv: &ConvGeometry) -> Option<usize> {
    let narrow = conv.depth().max(conv.width());
    let together = (2..=conv.groups).rev().find(|&n| conv.groups.is_multiple_of(n) && n * narrow <= WIDE)?;
    Some(conv.groups / together)
}
