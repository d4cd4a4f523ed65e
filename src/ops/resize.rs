//! Images in another size. Along each axis that is a choice of elements, or a product with a matrix that the attributes say.

use super::blocks::cubic::{cubic, keys};
use super::blocks::indexed::added_up;
use crate::ir::{Attr, DType, Dim, Elem, Node, Tensor, TensorType, ValueId};
use crate::operator::checked::{at, set, whole};
use crate::operator::{Builder, Facts, Function, Grad, Import, Operator, Rule, View, attrs, distinct_axes, floating, table_of};

/// `x → y`.
pub const RESIZE: Function = Function::new("Resize");

/// `dy → dx`.
pub const GRAD: Function = Function::new("ResizeGrad");

/// Interpolation to other sizes along some axes; the gradient is the transposed map.
pub struct Resize;

/// Upsample, from which Resize came; it is imported as that.
pub struct Upsample;

/// One axis that changes its size.
struct Along {
    axis: usize,
    from: usize,
    to: usize,
    scale: f32,
}

/// How an element of the result is made.
enum Map {
    /// One of the source's for each.
    Picks(Vec<usize>),
    /// For each a row of factors for all of the source's.
    Matrix(Vec<f64>),
}

impl Along {
    /// Where the result's element `i` lies in the source, as ONNX Runtime computes it: which neighbour is nearest depends on the rounding.
    fn position(&self, i: usize, mode: &str) -> Rule<f32> {
        let (x, from, to) = (i as f32, self.from as f32, self.to as f32);
        Ok(match mode {
            _ if self.scale == 1.0 => x,
            "asymmetric" => x / self.scale,
            "half_pixel" => (x + 0.5) / self.scale - 0.5,
            "pytorch_half_pixel" if self.to == 1 => 0.0,
            "pytorch_half_pixel" => (x + 0.5) / self.scale - 0.5,
            "align_corners" if self.to == 1 => 0.0,
            "align_corners" => x * (from - 1.0) / (to - 1.0),
            "tf_half_pixel_for_nn" => (x + 0.5) / self.scale,
            "half_pixel_symmetric" => from / 2.0 * (1.0 - to / (self.scale * from)) + (x + 0.5) / self.scale - 0.5,
            other => return Err(format!("its coordinate_transformation_mode \"{other}\" is not supported")),
        })
    }

    fn nearest(&self, at: f32, mode: &str) -> Rule<usize> {
        let near = match mode {
            "simple" => {
                if self.scale < 1.0 {
                    at.ceil()
                } else {
                    at.trunc()
                }
            }
            "round_prefer_floor" if at == at.trunc() + 0.5 => at.trunc(),
            "round_prefer_floor" | "round_prefer_ceil" => at.round(),
            "floor" => at.floor(),
            "ceil" => at.ceil(),
            other => return Err(format!("its nearest_mode \"{other}\" is not supported")),
        };
        Ok(self.clamped(near as i64))
    }

    fn clamped(&self, i: i64) -> usize {
        i.clamp(0, self.from.saturating_sub(1) as i64) as usize
    }

    /// Adds a share of the element at `i`, or of the nearest one there is, to its row.
    fn give(&self, row: &mut [f64], i: i64, share: f64) {
        row.iter_mut().skip(self.clamped(i)).take(1).for_each(|f| *f += share);
    }

    fn map(&self, n: &Node) -> Rule<Map> {
        table_of(&[self.to])?;
        let positions = (0..self.to).map(|i| self.position(i, n.string("coordinates"))).collect::<Rule<Vec<_>>>()?;
        if n.string("mode") == "nearest" {
            return positions.iter().map(|&at| self.nearest(at, n.string("nearest"))).collect::<Rule<_>>().map(Map::Picks);
        }
        if n.int("antialias", 0) != 0 && self.scale < 1.0 {
            return self.filtered(n, &positions).map(Map::Matrix);
        }
        let mut matrix = vec![0.0; table_of(&[self.to, self.from])?];
        for (row, &at) in matrix.chunks_mut(self.from.max(1)).zip(&positions) {
            if n.string("mode") == "linear" {
                let at = at.clamp(0.0, self.from as f32 - 1.0) as f64;
                let below = at.floor();
                self.give(row, below as i64, 1.0 - (at - below));
                self.give(row, (below as i64).saturating_add(1), at - below);
            } else {
                let below = at.floor();
                let mut factors = cubic((at - below) as f64, n.float("cubic", -0.75) as f64);
                let first = (below as i64).saturating_sub(1);
                if n.int("exclude_outside", 0) != 0 {
                    let outside = (first..).zip(&mut factors).filter(|(place, _)| !(0..self.from as i64).contains(place));
                    outside.for_each(|(_, factor)| *factor = 0.0);
                    let sum: f64 = factors.iter().sum();
                    factors.iter_mut().for_each(|f| *f /= sum);
                }
                (first..).zip(factors).for_each(|(place, factor)| self.give(row, place, factor));
            }
        }
        Ok(Map::Matrix(matrix))
    }

    /// Rows of the kernel stretched by as much as the image shrinks, so that every element of the source counts. What reaches over the ends falls on
    /// the first and the last element, or is left out.
    fn filtered(&self, n: &Node, positions: &[f32]) -> Rule<Vec<f64>> {
        let (scale, a) = (self.scale as f64, n.float("cubic", -0.75) as f64);
        let linear = n.string("mode") == "linear";
        let reach = if linear { 1.0 } else { 2.0 } / scale;
        let inside = n.int("exclude_outside", 0) != 0;
        let mut matrix = vec![0.0; table_of(&[self.to, self.from])?];
        for (row, &at) in matrix.chunks_mut(self.from.max(1)).zip(positions) {
            let at = at as f64;
            let (first, last) = ((at - reach).ceil() as i64, (at + reach).floor() as i64);
            let mut sum = 0.0;
            for j in first..=last {
                let d = ((j as f64 - at) * scale).abs();
                let factor = if linear { (1.0 - d).max(0.0) } else { keys(d, a) };
                if !inside || (0..self.from as i64).contains(&j) {
                    self.give(row, j, factor);
                    sum += factor;
                }
            }
            if sum == 0.0 {
                return Err("its filter has no weight within the image".into());
            }
            row.iter_mut().for_each(|f| *f /= sum);
        }
        Ok(matrix)
    }
}

/// The axes of a canonical node.
fn along(n: &View) -> Rule<Vec<Along>> {
    let x = n.ty(0)?;
    let scales = match n.node.attrs.get("scales") {
        Some(Attr::Floats(scales)) => scales.as_slice(),
        _ => &[],
    };
    let one = |((&axis, &to), &scale): ((&i64, &i64), &f32)| {
        let (axis, to) =
            (usize::try_from(axis).map_err(|_| "an axis is negative")?, usize::try_from(to).map_err(|_| "a size is negative")?);
        let from = x.shape.get(axis).and_then(|d| d.known()).ok_or("it changes the size of the batch")?;
        Ok(Along { axis, from, to, scale })
    };
    n.node.ints("axes").iter().zip(n.node.ints("sizes")).zip(scales).map(one).collect()
}

/// `v` with an axis multiplied by a row-major matrix of `rows` rows, or by its transpose.
fn multiplied(b: &mut Builder, v: ValueId, axis: usize, matrix: &[f64], rows: usize, transposed: bool) -> Rule<ValueId> {
    let columns = matrix.len().checked_div(rows).ok_or("its matrix has no rows")?;
    let turned = |flip: bool| -> (Vec<usize>, Vec<f64>) {
        if flip {
            let list = (0..columns).flat_map(|c| matrix.iter().skip(c).step_by(columns).copied()).collect();
            (vec![columns, rows], list)
        } else {
            (vec![rows, columns], matrix.to_vec())
        }
    };
    let tensor = |dtype: DType, flip: bool| {
        let (shape, list) = turned(flip);
        Tensor::from_floats(dtype, &shape, &list)
    };
    let (rank, dtype) = (b.rank(v), b.dtype(v));
    let last_axis = rank.checked_sub(1).filter(|last| axis <= *last).ok_or("it has no such axis")?;
    if axis.checked_add(1) == Some(last_axis) {
        let m = b.constant(tensor(dtype, transposed));
        return b.matmul(m, v);
    }
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(axis, last_axis);
    let last = b.transpose(v, &order)?;
    let m = b.constant(tensor(dtype, !transposed));
    let product = b.matmul(last, m)?;
    b.transpose(product, &order)
}

/// What a source asks of an axis.
enum Wanted {
    Scale(f32),
    Size(Elem),
}

/// What is wanted of each of the node's axes, from the inputs at `scales` and `sizes`.
fn wanted(cx: &Import, scales: usize, sizes: usize) -> Rule<Vec<Wanted>> {
    let given = |i: usize| cx.has(i) && cx.ty(i).is_ok_and(|t| t.count() != Some(Dim::Known(0)));
    if given(scales) {
        let list = cx.constant(scales).and_then(|t| t.to_f64().ok());
        let list = list.ok_or_else(|| {
            format!("its scales (input {scales}) are computed while the model runs; export the network with constant shapes")
        })?;
        return Ok(list.into_iter().map(|s| Wanted::Scale(s as f32)).collect());
    }
    let list = cx.elems(sizes);
    let list = list
        .ok_or_else(|| format!("its sizes (input {sizes}) are computed while the model runs; export the network with constant shapes"))?;
    Ok(list.into_iter().map(Wanted::Size).collect())
}

/// Writes the canonical node.
fn canonical(cx: &mut Import, axes: &[usize], wanted: Vec<Wanted>) -> Rule<()> {
    let x = cx.ty(0)?.clone();
    floating(&x)?;
    if wanted.len() != axes.len() {
        return Err(format!("{} scales or sizes do not fit {} axes of {x}", wanted.len(), axes.len()));
    }
    let (mut changed, mut sizes, mut scales) = (vec![], vec![], vec![]);
    for (&a, wanted) in axes.iter().zip(wanted) {
        let dim = *x.shape.get(a).ok_or("it has more axes than its input")?;
        let (to, scale) = match (dim, wanted) {
            (_, Wanted::Scale(1.0)) => continue,
            (_, Wanted::Size(size)) if Elem::from(dim) == size => continue,
            (Dim::Batch(k), Wanted::Size(Elem::Int(n))) if cx.declared_batch.is_some_and(|d| (whole(k) * d).int() == Ok(n)) => {
                cx.freed_batch = true;
                continue;
            }
            (Dim::Known(from), Wanted::Scale(scale)) if scale > 0.0 && scale.is_finite() => ((from as f32 * scale) as usize, scale),
            (Dim::Known(from), Wanted::Size(Elem::Int(n))) if from > 0 && n > 0 => (n as usize, n as f32 / from as f32),
            _ => return Err(format!("it brings axis {a} of {x} to a size that depends on the batch or is none")),
        };
        if to == 0 {
            return Err(format!("nothing is left of axis {a} of {x}"));
        }
        changed.push(a as i64);
        sizes.push(to as i64);
        scales.push(scale);
    }
    cx.inputs.truncate(1);
    if changed.is_empty() {
        cx.op_type = "Identity".into();
        cx.attrs.clear();
        return Ok(());
    }
    cx.op_type = RESIZE.name.into();
    cx.set("axes", Attr::Ints(changed));
    cx.set("sizes", Attr::Ints(sizes));
    cx.set("scales", Attr::Floats(scales));
    let node = Node::new("", RESIZE.name, cx.inputs.clone(), cx.attrs.clone());
    for a in along(&View { graph: cx.graph, node: &node })? {
        if cx.attrs.get("mode") != Some(&Attr::String("nearest".into())) {
            table_of(&[a.to, a.from]).map_err(|why| format!("it goes from {} to {} elements: {why}", a.from, a.to))?;
        }
        table_of(&[a.to])?;
        // Says whether the modes are known.
        let few = Along { to: a.to.min(1), ..a };
        few.map(&node)?;
    }
    Ok(())
}

fn mode(cx: &mut Import) -> Rule<()> {
    let mode = cx.string("mode", "nearest")?;
    let mode = match mode.as_str() {
        "nearest" | "linear" | "cubic" => mode,
        "bilinear" => "linear".into(),
        other => return Err(format!("its mode \"{other}\" is not supported, only nearest, linear and cubic")),
    };
    cx.set("mode", Attr::String(mode));
    Ok(())
}

impl Operator for Resize {
    fn op_type(&self) -> &'static str {
        RESIZE.name
    }

    fn facts(&self) -> Facts {
        Facts { by_image: true, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        mode(cx)?;
        let rank = cx.ty(0)?.rank();
        if cx.opset < 11 {
            cx.set("coordinates", Attr::String("asymmetric".into()));
            cx.set("nearest", Attr::String("simple".into()));
            let wanted = wanted(cx, 1, 2)?;
            return canonical(cx, &(0..rank).collect::<Vec<_>>(), wanted);
        }
        let coordinates = cx.string("coordinate_transformation_mode", "half_pixel")?;
        let nearest = cx.string("nearest_mode", "round_prefer_floor")?;
        cx.set("coordinates", Attr::String(coordinates));
        cx.set("nearest", Attr::String(nearest));
        let cubic = cx.source.float("cubic_coeff_a").map_err(|e| e.to_string())?.unwrap_or(-0.75);
        cx.set("cubic", Attr::Float(cubic));
        cx.int("exclude_outside", 0)?;
        // Of a mode that is refused.
        cx.source.float("extrapolation_value").map_err(|e| e.to_string())?;
        if cx.string("keep_aspect_ratio_policy", "stretch")? != "stretch" {
            return Err("it keeps the aspect ratio, which is not supported; export it with the sizes that this comes to".into());
        }
        if cx.int("antialias", 0)? != 0 && matches!(cx.attrs.get("mode"), Some(Attr::String(mode)) if mode == "nearest") {
            return Err("`antialias` filters, which its mode \"nearest\" does not".into());
        }
        let axes = match cx.ints("axes")? {
            Some(axes) => distinct_axes(&axes, rank)?,
            None => (0..rank).collect(),
        };
        let wanted = wanted(cx, 2, 3)?;
        canonical(cx, &axes, wanted)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let mut ty = n.ty(0)?.clone();
        for a in along(n)? {
            set(&mut ty.shape, a.axis, Dim::Known(a.to))?;
        }
        Ok(vec![ty])
    }

    fn body(&self, b: &mut Builder, n: &View, inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        let mut v = at(inputs, 0)?;
        for a in along(n)? {
            v = match a.map(n.node)? {
                Map::Picks(picks) => {
                    b.gather(v, a.axis, Tensor::from_i64(&[a.to], &picks.iter().map(|&i| i as i64).collect::<Vec<_>>()))?
                }
                Map::Matrix(matrix) => multiplied(b, v, a.axis, &matrix, a.to, false)?,
            };
        }
        Ok(Some(vec![v]))
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let list = along(&View { graph: b.graph, node: &g.node })?;
        let node = g.node.clone();
        let kept =
            ["axes", "scales", "mode", "coordinates", "nearest", "antialias"].map(|name| (name.to_string(), node.attrs.get(name).cloned()));
        let mut attributes: crate::ir::Attrs = kept.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        attributes.extend(attrs([("sizes", Attr::Ints(list.iter().map(|a| a.from as i64).collect()))]));
        let [dx] = b.call(&GRAD, [g.dy()?], attributes, |b, [dy]| {
            let mut v = dy;
            for a in list.iter().rev() {
                v = match a.map(&node)? {
                    Map::Picks(picks) => added_up(b, v, a.axis, &picks, a.from)?.ok_or("it has nothing in it")?,
                    Map::Matrix(matrix) => multiplied(b, v, a.axis, &matrix, a.to, true)?,
                };
            }
            Ok([v])
        })?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "modes nearest, linear and cubic with constant scales or sizes, in any coordinates but tf_crop_and_resize; `align_corners` by the whole length of the result, as the specification says it; antialias; a function"
    }
}

impl Operator for Upsample {
    fn op_type(&self) -> &'static str {
        "Upsample"
    }

    fn facts(&self) -> Facts {
        Facts { by_image: true, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        mode(cx)?;
        cx.set("coordinates", Attr::String("asymmetric".into()));
        cx.set("nearest", Attr::String("simple".into()));
        let axes: Vec<usize> = (0..cx.ty(0)?.rank()).collect();
        let attribute = cx.source.floats("scales").map_err(|e| e.to_string())?.map(<[f32]>::to_vec);
        let wanted = match attribute {
            Some(scales) => scales.into_iter().map(Wanted::Scale).collect(),
            None => wanted(cx, 1, 2)?,
        };
        canonical(cx, &axes, wanted)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Resize.infer(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        Resize.gradient(b, g)
    }

    fn notes(&self) -> &'static str {
        "imported as Resize"
    }
}
