//! What follows a product, before it is written.

use super::Element;
use super::for_isa::for_isa;
use super::lanes::{LANES, Lanes};

/// What is done to a product before it is written. Slices have the output's shape, `bias` one element per output channel.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a, O = f32> {
    pub bias: Option<&'a [f32]>,
    pub addend: Option<&'a [O]>,
    /// Negative values become 0.
    pub relu: bool,
    /// Values become 0 where this is not positive: a rectifier's gradient.
    pub mask: Option<&'a [O]>,
    /// Of a rectifier that is cut off above: larger values become this one with `relu`, and 0 where the mask reaches it.
    pub ceiling: Option<f32>,
}

for_isa! {
    /// [`Epilogue::finish`] of a whole row.
    pub fn finish_row<V, O>(isa, epilogue: &Epilogue<O>, row: &[f32], out: &mut [O], at: usize, channel: usize) {
        let whole = row.len() / LANES * LANES;
        for c in (0..whole).step_by(LANES) {
            epilogue.lanes(V::load(isa, &row[c..]), &mut out[c..], at + c, channel + c);
        }
        epilogue.finish(&row[whole..], &mut out[whole..], at + whole, channel + whole);
    }
}

impl<O: Element> Epilogue<'_, O> {
    /// One row of a product to the output's elements from `at` on; `channel` is the first one's channel.
    pub fn finish(&self, row: &[f32], out: &mut [O], at: usize, channel: usize) {
        for (c, (value, out)) in row.iter().zip(out.iter_mut()).enumerate() {
            let mut v = *value;
            if let Some(bias) = self.bias {
                v += bias[channel + c];
            }
            if let Some(addend) = self.addend {
                v += addend[at + c].to_f32();
            }
            if self.relu {
                v = v.max(0.0).min(self.ceiling.unwrap_or(f32::INFINITY));
            }
            let closed = |m: f32| m <= 0.0 || self.ceiling.is_some_and(|ceiling| m >= ceiling);
            if self.mask.is_some_and(|mask| closed(mask[at + c].to_f32())) {
                v = 0.0;
            }
            *out = O::from_f32(v);
        }
    }

    /// [`Epilogue::finish`] for sixteen channels at once.
    #[inline(always)]
    pub fn lanes<V: Lanes>(&self, values: V, out: &mut [O], at: usize, channel: usize) {
        let (mut v, isa) = (values, values.proof());
        if let Some(bias) = self.bias {
            v = v.add(V::load(isa, &bias[channel..]));
        }
        if let Some(addend) = self.addend {
            v = v.add(O::load::<V>(isa, &addend[at..]));
        }
        if self.relu {
            v = v.max(V::splat(isa, 0.0));
            if let Some(ceiling) = self.ceiling {
                v = v.min(V::splat(isa, ceiling));
            }
        }
        if let Some(mask) = self.mask {
            let mask = O::load::<V>(isa, &mask[at..]);
            v = v.where_positive(mask);
            if let Some(ceiling) = self.ceiling {
                v = v.where_positive(V::splat(isa, ceiling).sub(mask));
            }
        }
        O::store(v, out);
    }
}
