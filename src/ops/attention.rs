//! Attention and rotated positions, which ONNX has since opset 23; imported as the operators that their function bodies are made of.

use crate::ir::{Attr, Attrs, DType, Dim, Tensor, TensorType, ValueId};
use crate::operator::checked::{at, image, whole};
use crate::operator::{Builder, Import, Operator, Rule, View, attrs, imported_as, table_of};

/// `softmax(q·kᵀ·scale + mask)·v` for each head. Without a cache of earlier keys and values: a classifier sees its image at once.
pub struct Attention;

/// What the node's attributes say.
struct Settings {
    scale: Option<f32>,
    softcap: f32,
    causal: bool,
    /// How far a query sees to the left and to the right.
    window: [Option<usize>; 2],
    heads: [Option<usize>; 2],
    shown: i64,
}

fn positive(cx: &mut Import, name: &str) -> Rule<Option<usize>> {
    match cx.source.int(name).map_err(|e| e.to_string())? {
        None => Ok(None),
        Some(n) if n > 0 => Ok(Some(n as usize)),
        Some(n) => Err(format!("its `{name}` is {n}")),
    }
}

impl Settings {
    fn read(cx: &mut Import) -> Rule<Settings> {
        let float = |cx: &Import, name: &str| cx.source.float(name).map_err(|e| e.to_string());
        let int = |cx: &Import, name: &str| cx.source.int(name).map_err(|e| e.to_string());
        let side = |cx: &Import, name: &str| match int(cx, name)?.unwrap_or(-1) {
            -1 => Ok(None),
            n => usize::try_from(n).map(Some).map_err(|_| format!("its `{name}` is {n}")),
        };
        // In which precision the softmax is computed: here always in that of the data, which is at least float32.
        int(cx, "softmax_precision")?;
        Ok(Settings {
            scale: float(cx, "scale")?,
            softcap: float(cx, "softcap")?.unwrap_or(0.0),
            causal: int(cx, "is_causal")?.unwrap_or(0) != 0,
            window: [side(cx, "left_window_size")?, side(cx, "right_window_size")?],
            heads: [positive(cx, "q_num_heads")?, positive(cx, "kv_num_heads")?],
            shown: int(cx, "qk_matmul_output_mode")?.unwrap_or(0),
        })
    }

    /// Whether the query at `i` sees the key at `j`.
    fn sees(&self, i: usize, j: usize) -> bool {
        let [left, right] = self.window;
        !(self.causal && j > i) && left.is_none_or(|n| j.saturating_add(n) >= i) && right.is_none_or(|n| j <= i.saturating_add(n))
    }
}

/// `[N, heads, length, width]` of it or of `[N, length, heads·width]`.
fn by_heads(b: &mut Builder, v: ValueId, heads: Option<usize>, what: &str) -> Rule<ValueId> {
    let shape = b.shape(v).to_vec();
    match (&*shape, heads) {
        ([_, Dim::Known(_), Dim::Known(_), Dim::Known(_)], _) => Ok(v),
        (&[batch, length, Dim::Known(width)], Some(heads)) => {
            let each = width.checked_div(heads).filter(|_| width.is_multiple_of(heads));
            let each = each.ok_or_else(|| format!("its {what} of width {width} does not fall into {heads} heads"))?;
            let apart = b.reshape(v, &[batch, length, Dim::Known(heads), Dim::Known(each)])?;
            b.transpose(apart, &[0, 2, 1, 3])
        }
        ([_, _, _], None) => Err(format!("its {what} is {} and the number of heads is not given", b.ty(v))),
        _ => Err(format!("its {what} is {}, not [N, heads, length, width] or [N, length, heads times width]", b.ty(v))),
    }
}

fn known(b: &Builder, v: ValueId, axis: usize) -> Rule<usize> {
    b.shape(v).get(axis).and_then(|d| d.known()).ok_or_else(|| format!("axis {axis} of {} must be a number", b.ty(v)))
}

/// Each copy of a head is an input of one node.
const MOST_SHARED: usize = 1 << 12;

/// Every head as often as queries share it.
fn shared(b: &mut Builder, v: ValueId, times: usize) -> Rule<ValueId> {
    if times == 1 {
        return Ok(v);
    }
    if times > MOST_SHARED {
        return Err(format!("{times} heads share one; at most {MOST_SHARED} are supported"));
    }
    let heads = (whole(known(b, v, 1)?) * times).dim()?;
    let (batch, own, rest) = image(b.ty(v))?;
    let (apart, together) = ([&[batch, own, Dim::Known(1)], rest].concat(), [&[batch, heads], rest].concat());
    let apart = b.reshape(v, &apart)?;
    let copies = b.concat(&vec![apart; times], 2)?;
    b.reshape(copies, &together)
}

/// A number that a softmax makes 0 of, two of which a score can have beside it without becoming infinite.
fn shut(dtype: DType) -> f64 {
    if dtype == DType::F64 { -1e300 } else { -1e38 }
}

/// What is added to the scores, and where that is a question: 1 for a key that is seen, and 0 for one that is not.
struct Mask {
    bias: ValueId,
    open: Option<ValueId>,
}

impl Mask {
    /// The mask of a node, for `length` keys.
    fn given(b: &mut Builder, v: ValueId, constant: Option<Tensor>, dtype: DType, length: usize) -> Rule<Mask> {
        let ty = b.ty(v).clone();
        let finite = |t: &Tensor| t.to_f64().is_ok_and(|list| list.iter().all(|&m| m > shut(dtype)));
        let mut mask = match ty.dtype {
            DType::Bool => {
                let number = |m: f64| Tensor::from_floats(dtype, &[], &[m]);
                let (nothing, closed) = (b.constant(number(0.0)), b.constant(number(shut(dtype))));
                Mask { bias: b.op("Where", &[v, nothing, closed], Attrs::new())?, open: Some(b.cast(v, dtype)?) }
            }
            own if own == dtype && constant.as_ref().is_some_and(finite) => Mask { bias: v, open: None },
            own if own == dtype => {
                let number = |m: f64| Tensor::from_floats(dtype, &[], &[m]);
                let (least, endless) = (b.constant(number(shut(dtype))), b.constant(number(f64::NEG_INFINITY)));
                let open = b.op("Greater", &[v, endless], Attrs::new())?;
                Mask { bias: b.op("Max", &[v, least], Attrs::new())?, open: Some(b.cast(open, dtype)?) }
            }
            own if own.is_float() => return Err(format!("its mask is {own} beside {dtype}")),
            _ => return Err(format!("its mask is {ty}; of integers only boolean ones are supported")),
        };
        match ty.shape.last().and_then(|d| d.known()) {
            Some(n) if n == length || n == 1 => Ok(mask),
            Some(n) if n < length => {
                let (begin, mut end) = (vec![0; ty.rank()], vec![0; ty.rank()]);
                let missing = (whole(length) - n).int()?;
                end.iter_mut().rev().take(1).for_each(|end| *end = missing);
                let open = match mask.open {
                    Some(open) => open,
                    None => b.constant(Tensor::from_floats(dtype, &vec![1; ty.rank()], &[1.0])),
                };
                let open = b.expand_like(open, mask.bias)?;
                mask.open = Some(b.pad(open, &begin, &end, 0.0)?);
                mask.bias = b.pad(mask.bias, &begin, &end, shut(dtype))?;
                Ok(mask)
            }
            _ => Err(format!("its mask {ty} does not fit {length} keys")),
        }
    }

    /// And what the node itself shuts out.
    fn and(self, b: &mut Builder, seen: &[f64], shape: &[usize]) -> Rule<Mask> {
        let dtype = b.dtype(self.bias);
        let closed: Vec<f64> = seen.iter().map(|&s| if s > 0.0 { 0.0 } else { shut(dtype) }).collect();
        let (closed, seen) = (b.constant(Tensor::from_floats(dtype, shape, &closed)), b.constant(Tensor::from_floats(dtype, shape, seen)));
        let open = match self.open {
            Some(open) => b.mul(open, seen)?,
            None => seen,
        };
        Ok(Mask { bias: b.add(self.bias, closed)?, open: Some(open) })
    }
}

impl Operator for Attention {
    fn op_type(&self) -> &'static str {
        "Attention"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let settings = Settings::read(cx)?;
        if cx.has(4) || cx.has(5) {
            return Err("it reads keys and values of an earlier call (past_key, past_value), which an image classifier has not; export the network without a cache".into());
        }
        if cx.has(6) {
            return Err("how many keys count (nonpad_kv_seqlen) is a cache's; export the network without a cache".into());
        }
        let ((query, key, value), masked) = ((cx.input(0)?, cx.input(1)?, cx.input(2)?), cx.inputs.get(3).copied().flatten());
        let known_mask = cx.constant(3).cloned();
        // What an exporter saw of one image holds for every image.
        let one_image = cx.declared_batch == Some(1);
        let flat = cx.ty(0)?.rank() == 3;
        let outputs = [0, 1, 2, 3].map(|i| cx.outputs.get(i).is_some_and(|o| !o.is_empty()));
        let [.., asks_scores] = outputs;
        let mut b = cx.builder();
        let dtype = b.dtype(query);
        if !dtype.is_float() {
            return Err(format!("its query is {}, not of floating point", b.ty(query)));
        }
        let [q_heads, kv_heads] = settings.heads;
        let q = by_heads(&mut b, query, q_heads, "query")?;
        let k = by_heads(&mut b, key, kv_heads, "key")?;
        let v = by_heads(&mut b, value, kv_heads, "value")?;
        let [batch, others @ ..] = [q, k, v].map(|t| b.shape(t).first().copied());
        if others.iter().any(|&n| n != batch && !(n == Some(Dim::Known(1)) && one_image)) {
            return Err(format!("its query {}, key {} and value {} are not of one batch", b.ty(q), b.ty(k), b.ty(v)));
        }
        let (heads, own) = (known(&b, q, 1)?, known(&b, k, 1)?);
        let times = heads.checked_div(own).filter(|_| heads.is_multiple_of(own)).filter(|_| known(&b, v, 1) == Ok(own));
        let times = times.ok_or_else(|| format!("{heads} heads of queries do not share {own} of keys and values"))?;
        let (all_k, all_v) = (shared(&mut b, k, times)?, shared(&mut b, v, times)?);
        let (queries, keys, width) = (known(&b, q, 2)?, known(&b, k, 2)?, known(&b, q, 3)?);
        let scale = settings.scale.map_or_else(|| 1.0 / (width as f64).sqrt(), |s| s as f64);
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(format!("its `scale` is {scale}, and must be positive"));
        }
        // On both factors, as in the operator's own body: products stay small.
        let factor = b.number(scale.sqrt(), q);
        let (q, all_k) = (b.mul(q, factor)?, b.mul(all_k, factor)?);
        let turned = b.transpose(all_k, &[0, 1, 3, 2])?;
        let raw = b.matmul(q, turned)?;
        let mut capped = raw;
        if settings.softcap > 0.0 {
            let cap = b.number(settings.softcap as f64, raw);
            let small = b.div(raw, cap)?;
            let bent = b.op("Tanh", &[small], Attrs::new())?;
            capped = b.mul(bent, cap)?;
        }
        table_of(&[queries, keys])?;
        let seen: Vec<f64> =
            (0..queries).flat_map(|i| (0..keys).map(move |j| (i, j))).map(|(i, j)| f64::from(u8::from(settings.sees(i, j)))).collect();
        let mut mask = masked.map(|m| Mask::given(&mut b, m, known_mask, dtype, keys)).transpose()?;
        if seen.contains(&0.0) {
            let before = match mask {
                Some(mask) => mask,
                None => Mask { bias: b.constant(Tensor::from_floats(dtype, &[], &[0.0])), open: None },
            };
            mask = Some(before.and(&mut b, &seen, &[queries, keys])?);
        }
        let scores = match &mask {
            Some(mask) => b.add(capped, mask.bias)?,
            None => capped,
        };
        let mut weights = b.op("Softmax", &[scores], attrs([("axis", Attr::Int(-1))]))?;
        if let Some(open) = mask.and_then(|m| m.open) {
            // A query that sees no key gets nothing.
            let last = b.rank(open).checked_sub(1).ok_or("its mask is a single number")?;
            let any = b.largest(open, &[last])?;
            weights = b.mul(weights, any)?;
        }
        let mut y = b.matmul(weights, all_v)?;
        if flat {
            let [batch, _, length, _] = *b.shape(y) else { return Err(format!("its result is {}", b.ty(y))) };
            let width = (whole(known(&b, y, 3)?) * heads).dim()?;
            let together = b.transpose(y, &[0, 2, 1, 3])?;
            y = b.reshape(together, &[batch, length, width])?;
        }
        if asks_scores && settings.shown != 3 && scores != raw {
            return Err(
                "it shows its scores (qk_matmul_output) beside a mask or a cap, in an order that ONNX has changed; leave that output out"
                    .into(),
            );
        }
        let shown = if settings.shown == 3 { weights } else { raw };
        cx.replaced = Some([y, k, v, shown].into_iter().zip(outputs).filter(|(_, asked)| *asked).map(|(v, _)| v).collect());
        Ok(())
    }

    fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
        imported_as("other operators")
    }

    fn notes(&self) -> &'static str {
        "heads that share keys, masks, causal, windows, softcap; no cache of earlier keys; imported as MatMul and Softmax"
    }
}

/// Pairs of elements turned by an angle that grows with the place in the sequence.
pub struct RotaryEmbedding;

/// Cosines or sines for every place, `[1 or N, length, 1, half]`.
fn table(b: &mut Builder, v: ValueId, places: Option<&[i64]>, half: usize, images: Dim) -> Rule<ValueId> {
    let ty = b.ty(v).clone();
    let (v, batch) = match (&*ty.shape, places) {
        (&[_, Dim::Known(_)], Some(places)) => {
            let places = b.constant(Tensor::from_i64(&[places.len()], places));
            (b.folded("Gather", &[v, places], attrs([("axis", Attr::Int(0))]))?, Dim::Known(1))
        }
        (&[batch, Dim::Known(_), Dim::Known(_)], None) if batch == images || batch == Dim::Known(1) => (v, batch),
        _ => return Err(format!("its table {ty} does not go with its images or with what `position_ids` is")),
    };
    let shape = b.shape(v).to_vec();
    match *shape {
        [.., length, Dim::Known(width)] if width == half => b.reshape(v, &[batch, length, Dim::Known(1), Dim::Known(half)]),
        _ => Err(format!("its table {ty} does not have {half} angles for each place")),
    }
}

impl Operator for RotaryEmbedding {
    fn op_type(&self) -> &'static str {
        "RotaryEmbedding"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let interleaved = cx.source.int("interleaved").map_err(|e| e.to_string())?.unwrap_or(0) != 0;
        let rotated = cx.source.int("rotary_embedding_dim").map_err(|e| e.to_string())?.unwrap_or(0);
        let heads = cx.source.int("num_heads").map_err(|e| e.to_string())?.filter(|&n| n > 0).map(|n| n as usize);
        let places = match cx.inputs.get(3).copied().flatten() {
            None => None,
            Some(_) => Some(same_for_all(cx.constant(3))?),
        };
        let (x, cos, sin) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let mut b = cx.builder();
        let flat = b.rank(x) == 3;
        // `[N, length, heads, width]`
        let shape = b.shape(x).to_vec();
        let v = match (&*shape, heads) {
            ([_, _, _, Dim::Known(_)], _) => b.transpose(x, &[0, 2, 1, 3])?,
            (&[batch, length, Dim::Known(width)], Some(n)) if width.is_multiple_of(n) => {
                b.reshape(x, &[batch, length, Dim::Known(n), Dim::Known(width.checked_div(n).unwrap_or(width))])?
            }
            _ => return Err(format!("its input {} does not fall into heads", b.ty(x))),
        };
        let width = known(&b, v, 3)?;
        let turned = if rotated == 0 { width } else { usize::try_from(rotated).map_err(|_| "`rotary_embedding_dim` is negative")? };
        if turned > width || !turned.is_multiple_of(2) || turned == 0 {
            return Err(format!("it turns {turned} of {width} elements in pairs, which is impossible"));
        }
        let half = turned / 2;
        let images = at(b.shape(v), 0)?;
        let mut angles = |t: ValueId| table(&mut b, t, places.as_deref(), half, images);
        let (cos, sin) = (angles(cos)?, angles(sin)?);
        let (half, turned, width) = (half as i64, turned as i64, width as i64);
        let (first, second) = match interleaved {
            true => (b.slice(v, &[3], &[0], &[turned], &[2])?, b.slice(v, &[3], &[1], &[turned], &[2])?),
            false => (b.slice(v, &[3], &[0], &[half], &[1])?, b.slice(v, &[3], &[half], &[turned], &[1])?),
        };
        let [real, imaginary] = b.formula([first, second, cos, sin], |[a, b, cos, sin]| [a * cos - b * sin, a * sin + b * cos])?;
        let first = match interleaved {
            true => {
                let (apart, together) = match *b.shape(real) {
                    [n, l, h, w] => ([n, l, h, w, Dim::Known(1)], [n, l, h, Dim::Known(turned as usize)]),
                    _ => return Err(format!("it turns {}", b.ty(real))),
                };
                let (real, imaginary) = (b.reshape(real, &apart)?, b.reshape(imaginary, &apart)?);
                let pairs = b.concat(&[real, imaginary], 4)?;
                b.reshape(pairs, &together)?
            }
            false => b.concat(&[real, imaginary], 3)?,
        };
        let together = match turned < width {
            true => {
                let rest = b.slice(v, &[3], &[turned], &[width], &[1])?;
                b.concat(&[first, rest], 3)?
            }
            false => first,
        };
        let y = if flat { b.reshape(together, &shape)? } else { b.transpose(together, &[0, 2, 1, 3])? };
        cx.becomes(y);
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn notes(&self) -> &'static str {
        "positions that are constant and the same for every image; imported as other operators"
    }
}

/// The places of the sequence, where every image has the same.
fn same_for_all(positions: Option<&Tensor>) -> Rule<Vec<i64>> {
    let positions = positions.ok_or("its positions (input 3) are computed while the model runs; export the network with constant ones")?;
    let (numbers, length) = (positions.to_i64().map_err(|e| e.to_string())?, positions.shape().last().copied().unwrap_or(0));
    let mut rows = numbers.chunks(length.max(1));
    let first = rows.next().ok_or("its positions (input 3) are empty")?;
    match rows.all(|row| row == first) {
        true => Ok(first.to_vec()),
        false => Err("its positions (input 3) differ between the images of a batch".into()),
    }
}
