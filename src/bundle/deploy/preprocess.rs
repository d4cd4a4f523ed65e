//! Preprocessing as a graph: what `spgraph predict` does to a decoded image, for images of any size.
//!
//! ONNX's `Resize` shrinks like Pillow only from opset 18 on, with `antialias`, which few runtimes have. So the two passes of Pillow's filter are two
//! matrix products here, with the weights of each row and column computed from the image's size, and each pass rounded to whole numbers.

use super::nodes::{Attr, Nodes};
use crate::bundle::manifest::Manifest;
use crate::bundle::preprocessing::{ChannelOrder, Layout};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{DType, Tensor};
use crate::onnx::declaration::{declaration, size, symbol};
use crate::onnx::pb;

/// `Range` is from this opset.
const OPSET: i64 = 11;

/// Puts it before the network's input, which becomes a value, and declares the input `images`.
pub fn add(n: &mut Nodes, graph: &mut pb::GraphProto, manifest: &Manifest) -> Result<()> {
    if n.opset < OPSET {
        let why = format!(": the model has opset {}, and {OPSET} is needed. Export the source with a newer one", n.opset);
        return Err(Error::option(Field::PREPROCESS, why));
    }
    let p = &manifest.preprocessing;
    let port = &manifest.data.input;
    let [channels, height, width] = p.fits(&port.shape)?;
    let initializers: Vec<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let input = graph.input.iter().position(|i| !initializers.contains(&i.name()));
    let input = input.ok_or_else(|| Error::model("the export has no input"))?;
    let port = graph.input.get_mut(input).ok_or_else(|| Error::model("the export has no input"))?;
    let (name, dtype, batch) = described(port)?;
    let images = n.name("images");
    *port = declared(&images, batch);

    let size = n.op("Shape", &[&images], &[]);
    let (one, two) = (n.int(1), n.int(2));
    let axis0 = [("axis", Attr::Int(0))];
    let h = n.op("Gather", &[&size, &one], &axis0);
    let w = n.op("Gather", &[&size, &two], &axis0);
    let [new_h, new_w] = scaled(n, &h, &w, p.resize as i64, [height.into(), width.into()]);
    let columns = weights(n, &w, &new_w, width.into());
    let rows = weights(n, &h, &new_h, height.into());

    let x = n.cast(&images, DType::F32);
    let x = n.op("Transpose", &[&x], &[("perm", Attr::Ints(&[0, 3, 1, 2]))]);
    let columns = n.op("Transpose", &[&columns], &[("perm", Attr::Ints(&[1, 0]))]);
    let half = n.constant(&Tensor::from_f32(&[], &[0.5]));
    let rounded = |n: &mut Nodes, x: &str| {
        let up = n.op("Add", &[x, &half], &[]);
        n.op("Floor", &[&up], &[])
    };
    // The resizer of `data` shrinks bytes vertically first.
    let x = n.op("MatMul", &[&rows, &x], &[]);
    let x = rounded(n, &x);
    let x = n.op("MatMul", &[&x, &columns], &[]);
    let mut x = rounded(n, &x);

    let white = n.constant(&Tensor::from_f32(&[], &[255.0]));
    x = n.op("Div", &[&x, &white], &[]);
    if channels == 1 {
        let grey = n.constant(&Tensor::from_f32(&[1, 3, 1, 1], &[0.299, 0.587, 0.114]));
        x = n.op("Conv", &[&x, &grey], &[]);
    } else if p.channels == ChannelOrder::Bgr {
        let order = n.constant(&Tensor::from_i64(&[3], &[2, 1, 0]));
        x = n.op("Gather", &[&x, &order], &[("axis", Attr::Int(1))]);
    }
    if p.scale != 1 {
        let scale = n.constant(&Tensor::from_f32(&[], &[p.scale.into()]));
        x = n.op("Mul", &[&x, &scale], &[]);
    }
    let shape = [channels as usize, 1, 1];
    let mean = n.constant(&Tensor::from_f32(&shape, &p.mean));
    let std = n.constant(&Tensor::from_f32(&shape, &p.std));
    x = n.op("Sub", &[&x, &mean], &[]);
    x = n.op("Div", &[&x, &std], &[]);
    if p.layout == Layout::Nhwc {
        x = n.op("Transpose", &[&x], &[("perm", Attr::Ints(&[0, 2, 3, 1]))]);
    }
    if !dtype.is_float() {
        x = n.op("Round", &[&x], &[]);
    }
    n.node("Cast", &[&x], &[&name], &[("to", Attr::Int(dtype.onnx().into()))]);
    Ok(())
}

/// Name, element type and batch of the network's input.
fn described(info: &pb::ValueInfoProto) -> Result<(String, DType, pb::tensor_shape_proto::Dimension)> {
    let tensor = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(pb::type_proto::Value::TensorType(t)) => t,
        _ => return Err(Error::model(format!("the export's input `{}` is no tensor", info.name()))),
    };
    let dtype = DType::from_onnx(tensor.elem_type()).ok_or_else(|| Error::model("the export's input has an unknown type"))?;
    Ok((info.name().into(), dtype, tensor.shape.as_ref().and_then(|s| s.dim.first()).cloned().unwrap_or_default()))
}

/// `[N, height, width, 3]` bytes.
fn declared(name: &str, batch: pb::tensor_shape_proto::Dimension) -> pb::ValueInfoProto {
    declaration(name, DType::U8, [batch, symbol("image_height"), symbol("image_width"), size(Some(3))])
}

/// Height and width after the shorter side became `resize`, or more where the crop would not fit: whole numbers, truncated as torchvision does.
fn scaled(n: &mut Nodes, h: &str, w: &str, resize: i64, crop: [i64; 2]) -> [String; 2] {
    let (one, two) = (n.int(1), n.int(2));
    let difference = n.op("Sub", &[h, w], &[]);
    let apart = n.op("Abs", &[&difference], &[]);
    let sum = n.op("Add", &[h, w], &[]);
    let twice = n.op("Sub", &[&sum, &apart], &[]);
    let shorter = n.op("Div", &[&twice, &two], &[]);
    let mut side = n.int(resize);
    for (old, crop) in [h, w].into_iter().zip(crop) {
        // The least side s with s·old/shorter ≥ crop.
        let crop = n.int(crop);
        let product = n.op("Mul", &[&crop, &shorter], &[]);
        let before = n.op("Sub", &[old, &one], &[]);
        let above = n.op("Add", &[&product, &before], &[]);
        let least = n.op("Div", &[&above, old], &[]);
        let difference = n.op("Sub", &[&side, &least], &[]);
        let apart = n.op("Abs", &[&difference], &[]);
        let sum = n.op("Add", &[&side, &least], &[]);
        let twice = n.op("Add", &[&sum, &apart], &[]);
        side = n.op("Div", &[&twice, &two], &[]);
    }
    [h, w].map(|old| {
        let product = n.op("Mul", &[&side, old], &[]);
        n.op("Div", &[&product, &shorter], &[])
    })
}

/// The triangle filter from `old` to `new` pixels, of the `crop` pixels in the middle: `[crop, old]`.
fn weights(n: &mut Nodes, old: &str, new: &str, crop: i64) -> String {
    // The middle, rounded half to even.
    let (zero, one, two, length) = (n.int(0), n.int(1), n.int(2), n.int(crop));
    let rest = n.op("Sub", &[new, &length], &[]);
    let lower = n.op("Div", &[&rest, &two], &[]);
    let even = n.op("Mul", &[&lower, &two], &[]);
    let odd = n.op("Sub", &[&rest, &even], &[]);
    let quarter = n.op("Div", &[&lower, &two], &[]);
    let even = n.op("Mul", &[&quarter, &two], &[]);
    let lower_odd = n.op("Sub", &[&lower, &even], &[]);
    let up = n.op("Mul", &[&odd, &lower_odd], &[]);
    let start = n.op("Add", &[&lower, &up], &[]);

    let (old_f, new_f, start) = (n.cast(old, DType::F64), n.cast(new, DType::F64), n.cast(&start, DType::F64));
    let (half, unit) = (n.double(0.5), n.double(1.0));
    let scale = n.op("Div", &[&old_f, &new_f], &[]);
    // Not narrower than a pixel.
    let beyond = n.op("Sub", &[&scale, &unit], &[]);
    let beyond = n.op("Relu", &[&beyond], &[]);
    let support = n.op("Add", &[&beyond, &unit], &[]);
    let indices: Vec<f64> = (0..crop).map(|i| i as f64 + 0.5).collect();
    let indices = n.constant(&Tensor::from_f64(&[indices.len(), 1], &indices));
    let target = n.op("Add", &[&indices, &start], &[]);
    let center = n.op("Mul", &[&target, &scale], &[]);
    let pixels = n.op("Range", &[&zero, old, &one], &[]);
    let pixels = n.cast(&pixels, DType::F64);
    let pixels = n.op("Add", &[&pixels, &half], &[]);
    let distance = n.op("Sub", &[&pixels, &center], &[]);
    let distance = n.op("Abs", &[&distance], &[]);
    let distance = n.op("Div", &[&distance, &support], &[]);
    let height = n.op("Sub", &[&unit, &distance], &[]);
    let height = n.op("Relu", &[&height], &[]);
    let sum = if n.opset >= 13 {
        let axis = n.constant(&Tensor::from_i64(&[1], &[1]));
        n.op("ReduceSum", &[&height, &axis], &[])
    } else {
        n.op("ReduceSum", &[&height], &[("axes", Attr::Ints(&[1]))])
    };
    let weights = n.op("Div", &[&height, &sum], &[]);
    n.cast(&weights, DType::F32)
}
