//! Small inputs that ask for much or say nonsense: every command that takes them answers with one error that names the file, at once, in little memory,
//! and leaves nothing.

use crate::measure::measured;
use crate::models::{classifier, node};
use crate::scenario::{binary, scratch, shared, words};
use prost::Message;
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::attributes::{attr_int, attr_ints};
use spgraph::onnx::{self, pb, to_proto};
use std::path::Path;
use std::process::Command;

/// Seconds of the processor, for other tests run beside this one; and bytes beyond those of the input. A runtime's library alone may take as many.
const SECONDS: f64 = 1.0;
const MEMORY: u64 = 64 << 20;
const SLACK: u64 = 8 << 20;

pub fn floats(name: &str, shape: &[usize]) -> pb::TensorProto {
    to_proto(name, &Tensor::from_f32(shape, &vec![0.1; shape.iter().product()]))
}

fn integers(name: &str, values: &[i64]) -> pb::TensorProto {
    to_proto(name, &Tensor::from_i64(&[values.len()], values))
}

/// One node from `x` and constants to the features.
pub fn one(op: &str, constants: &[pb::TensorProto], attributes: &[pb::AttributeProto]) -> pb::ModelProto {
    let inputs: Vec<&str> = ["x"].into_iter().chain(constants.iter().map(|c| c.name())).collect();
    let mut node = node(op, "bad", &inputs, "features");
    node.attribute = attributes.to_vec();
    classifier(vec![node], constants.to_vec())
}

/// `op` on constants alone, so many times over, its last result added to the features.
fn growing(
    op: &str,
    times: usize,
    dtype: DType,
    more: &[&str],
    constants: Vec<pb::TensorProto>,
    attributes: &[pb::AttributeProto],
) -> pb::ModelProto {
    let mut nodes = vec![];
    let mut last = "start".to_string();
    for i in 0..times {
        let inputs: Vec<&str> =
            if op == "Concat" { vec![&last, &last] } else { [last.as_str()].into_iter().chain(more.iter().copied()).collect() };
        let result = format!("grown{i}");
        let mut node = node(op, &format!("bad{i}"), &inputs, &result);
        node.attribute = attributes.to_vec();
        nodes.push(node);
        last = result;
    }
    let mut sum = node("ReduceSum", "sum", &[&last], "sum_y");
    sum.attribute = vec![attr_int("keepdims", 0)];
    let mut cast = node("Cast", "cast", &["sum_y"], "cast_y");
    cast.attribute = vec![attr_int("to", 1)];
    nodes.extend([sum, cast, node("Add", "add", &["x", "cast_y"], "features")]);
    let start = if dtype == DType::I64 { integers("start", &[1, 1]) } else { floats("start", &[2]) };
    classifier(nodes, [vec![start], constants].concat())
}

fn sized(dims: &[i64]) -> pb::ModelProto {
    let mut model = one("Conv", &[floats("k", &[3, 3, 1, 1])], &[]);
    let graph = model.graph.as_mut().unwrap();
    graph.initializer[0].dims = dims.to_vec();
    model
}

fn input(dims: &[i64]) -> pb::ModelProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let mut model = one("Relu", &[], &[]);
    let info = &mut model.graph.as_mut().unwrap().input[0];
    let Some(pb::type_proto::Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) else { panic!() };
    tensor.shape.as_mut().unwrap().dim = dims.iter().map(|&d| Dimension { value: Some(Value::DimValue(d)), denotation: None }).collect();
    model
}

pub fn changed(mut model: pb::ModelProto, change: impl Fn(&mut pb::GraphProto)) -> pb::ModelProto {
    change(model.graph.as_mut().unwrap());
    model
}

/// What each is, by the kind of its fault.
fn models() -> Vec<(String, pb::ModelProto)> {
    let kernel = |name: &str| floats(name, &[3, 3, 3, 3]);
    let mut all: Vec<(String, pb::ModelProto)> = vec![];
    let mut add = |name: String, model| all.push((name, model));
    // Ranks that differ.
    for shape in [vec![], vec![8], vec![1, 3, 8]] {
        add(format!("concat with {shape:?}"), one("Concat", &[floats("c", &shape)], &[attr_int("axis", 1)]));
    }
    add("matmul of vectors".into(), one("MatMul", &[floats("c", &[7])], &[]));
    add("conv with a matrix".into(), one("Conv", &[floats("k", &[3, 3])], &[]));
    // Attributes at the end of the numbers, or larger than what they count.
    for number in [i64::MAX, i64::MIN, -1, 0, 65536, 1 << 31, 1 << 32] {
        add(format!("conv in {number} groups"), one("Conv", &[kernel("k")], &[attr_int("group", number)]));
        add(
            format!("conv with strides of {number}"),
            one("Conv", &[kernel("k")], &[attr_ints("strides", [number, if number == 65536 { -7 } else { 1 }])]),
        );
        add(format!("conv dilated by {number}"), one("Conv", &[kernel("k")], &[attr_ints("dilations", [number, number])]));
        add(
            format!("concat along {number}"),
            one("Concat", &[floats("c", &[1, 3, 8, 8])], &[attr_int("axis", if number == 0 || number == -1 { 9 } else { number })]),
        );
    }
    // Sizes whose product or sum overflows.
    for dims in
        [vec![1 << 62, 3], vec![1 << 40, 1 << 40], vec![i64::MAX], vec![-1, 3, 3, 3], vec![256_204_778_801_521_550, 3, 3, 3], vec![3; 64]]
    {
        add(format!("a weight of {dims:?}"), sized(&dims));
    }
    for dims in [vec![1, 3, 1 << 62, 1 << 62], vec![1, 3, i64::MAX, 1], vec![1, 1 << 20, 1 << 20, 1 << 20], vec![1 << 62, 3, 1 << 62, 8]] {
        add(format!("an input of {dims:?}"), input(&dims));
    }
    // Inputs that are missing.
    for op in ["MaxPool", "Sub", "Conv", "Gemm", "BatchNormalization", "Concat", "Where", "Clip"] {
        let attributes = if op == "MaxPool" { vec![attr_ints("kernel_shape", [2, 2])] } else { vec![] };
        add(format!("{op} of nothing"), changed(one(op, &[], &attributes), |g| g.node[0].input.clear()));
        add(format!("{op} of an empty name"), changed(one(op, &[], &attributes), |g| g.node[0].input[0].clear()));
    }
    for op in ["Sub", "Mul", "Conv", "Gemm", "MatMul", "BatchNormalization", "PRelu"] {
        add(format!("{op} of one input"), one(op, &[], &[]));
    }
    // A value of two origins.
    add("a value twice".into(), changed(one("Relu", &[], &[]), |g| g.node[1].output[0] = "features".into()));
    add("a value that is the input".into(), changed(one("Relu", &[], &[]), |g| g.node[1].output[0] = "x".into()));
    add("an initializer twice".into(), changed(one("Conv", &[kernel("k")], &[]), |g| g.initializer.push(kernel("k"))));
    // Lists of another length.
    for (list, values) in [
        ("strides", vec![1]),
        ("strides", vec![1; 3]),
        ("pads", vec![1]),
        ("pads", vec![1; 5]),
        ("dilations", vec![2]),
        ("kernel_shape", vec![2]),
    ] {
        let shape = (list != "kernel_shape").then(|| attr_ints("kernel_shape", [2, 2]));
        let attributes: Vec<_> = shape.into_iter().chain([attr_ints(list, values.clone())]).collect();
        add(format!("MaxPool with {list} {values:?}"), one("MaxPool", &[], &attributes));
    }
    // Windows far larger than the image.
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        for n in [30_000, 1 << 20] {
            add(format!("{op} of {n}"), one(op, &[], &[attr_ints("kernel_shape", [n, n]), attr_ints("pads", [n - 1; 4])]));
        }
    }
    add(
        "conv dilated over padding".into(),
        one("Conv", &[kernel("k")], &[attr_ints("dilations", [20_000, 20_000]), attr_ints("pads", [20_000; 4])]),
    );
    for n in [1 << 32, 1 << 62] {
        add(format!("LpPool of {n}"), one("LpPool", &[], &[attr_ints("kernel_shape", [n, n])]));
    }
    // Places without an index, more of them than any memory has; the largest of a single number, without its axis.
    for rows in [1 << 40, 1 << 61] {
        let nothing = pb::TensorProto { dims: vec![rows, 0], ..integers("places", &[]) };
        for op in ["GatherND", "ScatterND"] {
            let constants = if op == "GatherND" { vec![nothing.clone()] } else { vec![nothing.clone(), floats("values", &[1])] };
            add(format!("{op} at {rows} places of nothing"), one(op, &constants, &[]));
        }
    }
    for op in ["ArgMax", "ArgMin"] {
        let number = changed(one(op, &[floats("number", &[])], &[attr_int("keepdims", 0)]), |g| g.node[0].input = vec!["number".into()]);
        add(format!("{op} of a number"), number);
    }
    // Constants that grow without bounds.
    let axis = [attr_int("axis", 0)];
    add("concat doubled".into(), growing("Concat", 26, DType::I64, &[], vec![], &axis));
    add("tile doubled".into(), growing("Tile", 30, DType::I64, &["n"], vec![integers("n", &[2])], &[]));
    add("tile at once".into(), growing("Tile", 1, DType::I64, &["n"], vec![integers("n", &[1 << 34])], &[]));
    add("expand at once".into(), growing("Expand", 1, DType::I64, &["n"], vec![integers("n", &[1 << 34, 2])], &[]));
    add("floats tiled at once".into(), growing("Tile", 1, DType::F32, &["n"], vec![integers("n", &[1 << 36])], &[]));
    add("floats expanded at once".into(), growing("Expand", 1, DType::F32, &["n"], vec![integers("n", &[1 << 36, 2])], &[]));
    all
}

/// Models with more parts than any network has, as bytes: what they are decoded would count as memory of the commands, which begin as copies of this process.
fn crowds() -> Vec<(String, Vec<u8>)> {
    // A field with a length, which takes five bytes here.
    let field = |number: u8, content: &[u8]| {
        let length = content.len() as u32;
        let digits = [0, 7, 14, 21, 28].map(|shift| (length >> shift & 0x7f) as u8 | if shift < 28 { 0x80 } else { 0 });
        [&[number << 3 | 2][..], &digits, content].concat()
    };
    let many = |number: u8| [number << 3 | 2, 0].repeat(540_000);
    let kinds = [("nodes", many(1)), ("tensors", many(5)), ("names", field(1, &many(1)))];
    let good = one("Relu", &[], &[]).encode_to_vec();
    kinds.map(|(what, graph)| (format!("empty {what}"), [&good[..], &field(7, &graph)].concat())).into()
}

/// What a command must do with it; why that is not what it does.
fn wrong(lab: &Path, line: &str, name: &str, most: u64) -> Option<String> {
    let mut command = Command::new(binary());
    command.args(words(line, shared())).current_dir(lab);
    let before: Vec<_> = crate::scenario::content(lab).into_keys().collect();
    let found = measured(&mut command);
    let said = format!("`{line}`: {:.2} s, {} MB, exit {:?}: {}", found.seconds, found.memory >> 20, found.code, found.err);
    if found.code != Some(1) || found.err.matches("error: ").count() != 1 || found.err.contains("panicked") {
        return Some(said);
    }
    let error = &found.err[found.err.find("error: ").unwrap_or(0)..];
    // A node of the model, or the file.
    if error.trim_end().contains("\n\n") || !(error.contains(name) || error.contains('`')) {
        return Some(format!("not one paragraph that names something: {said}"));
    }
    if found.seconds > SECONDS || found.memory > most {
        return Some(format!("too much: {said}"));
    }
    let after: Vec<_> = crate::scenario::content(lab).into_keys().collect();
    (before != after).then(|| format!("it leaves {after:?}: {said}"))
}

/// Every file through every command. `good` is one in which nothing is wrong.
fn try_all(files: &[(String, String)], good: &str, commands: impl Fn(&str) -> Vec<String>, lab: &Path) {
    let (mut found, mut count) = (vec![], 0);
    let of_good = |line: String| {
        let mut command = Command::new(binary());
        command.args(words(&line, shared())).current_dir(lab);
        let memory = measured(&mut command).memory;
        for made in ["out", "out.safetensors"] {
            let _ = spgraph::storage::exchange::remove(&lab.join(made));
        }
        memory
    };
    let usual: Vec<u64> = commands(good).into_iter().map(of_good).collect();
    for (what, file) in files {
        let size = std::fs::metadata(lab.join(file)).unwrap().len();
        for (line, usual) in commands(file).into_iter().zip(&usual) {
            count += 1;
            if let Some(why) = wrong(lab, &line, file, size + MEMORY.max(usual + SLACK)) {
                println!("WRONG {what}: {why}");
                found.push(format!("{what}: {why}"));
            }
        }
    }
    println!("{} inputs, {count} commands, {} wrong", files.len(), found.len());
    assert!(found.is_empty(), "{} wrong, the first: {}", found.len(), found[0]);
}

#[test]
fn models_that_ask_for_much_or_say_nonsense() {
    let lab = scratch("bad-models");
    let models = models().into_iter().map(|(what, model)| (what, model.encode_to_vec()));
    let files: Vec<(String, String)> = models
        .chain(crowds())
        .enumerate()
        .map(|(i, (what, model))| {
            let name = format!("bad{i}.onnx");
            std::fs::write(lab.path().join(&name), model).unwrap();
            (what, name)
        })
        .collect();
    let all = crate::time().is_some();
    let commands = |file: &str| {
        let image = "@images/plaid/plaid-s0-00000.png";
        let mut lines = vec![
            format!("inspect {file}"),
            format!("rewrite {file} -o out"),
            format!("predict {file} {image} --engine tract"),
            format!("predict {file} {image}"),
        ];
        if all {
            lines.extend([
                format!("finetune {file} --data @images -o out"),
                format!("eval {file} --data @images --class-names bricks,plaid,x"),
                format!("fisher {file} --data @images -o out.safetensors"),
                format!("inspect {file} --json"),
                format!("rewrite {file} --batch dynamic -o out"),
            ]);
        }
        lines
    };
    onnx::write(lab.path().join("good.onnx"), &one("Relu", &[], &[])).unwrap();
    try_all(&files, "good.onnx", commands, lab.path());
}

pub fn crc(data: &[u8]) -> u32 {
    let table = |mut c: u32| {
        (0..8).for_each(|_| c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 });
        c
    };
    !data.iter().fold(!0u32, |c, b| table((c ^ u32::from(*b)) & 0xff) ^ (c >> 8))
}

/// A PNG of one bit for each pixel, all black: a few hundred kB for any size.
fn png(side: u32) -> Vec<u8> {
    let chunk = |name: &[u8; 4], data: &[u8]| {
        let body = [&name[..], data].concat();
        [&(data.len() as u32).to_be_bytes()[..], &body, &crc(&body).to_be_bytes()].concat()
    };
    let bytes = side as usize * (1 + side.div_ceil(8) as usize);
    // Deflate with the fixed code: one zero, then copies of 258 bytes of it; what is left over as literals.
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut code = |value: u32, width: u32| bits.extend((0..width).rev().map(|i| value >> i & 1 == 1));
    code(0x30, 8);
    for _ in 0..(bytes - 1) / 258 {
        code(0b1100_0101, 8);
        code(0, 5);
    }
    (0..(bytes - 1) % 258).for_each(|_| code(0x30, 8));
    code(0, 7);
    let mut data: Vec<u8> = bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |b, (i, bit)| b | u8::from(*bit) << i)).collect();
    // Adler-32 of so many zeros.
    let adler = ((bytes % 65521) as u32) << 16 | 1;
    data = [&[0x78, 0x9c][..], &data, &adler.to_be_bytes()].concat();
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &data), &chunk(b"IEND", &[])].concat()
}

/// A progressive JPEG of that size, of which only the beginning is there.
fn jpeg(side: u16) -> Vec<u8> {
    let [high, low] = side.to_be_bytes();
    let frame = [0xff, 0xc2, 0, 17, 8, high, low, high, low, 3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0];
    [&[0xff, 0xd8, 0xff, 0xdb, 0, 67, 0][..], &[1; 64], &frame, &[0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0xff, 0xd9]].concat()
}

/// A lossless WebP of that size, of which only the header is there.
fn webp(side: u32) -> Vec<u8> {
    let sizes = (side - 1) | (side - 1) << 14;
    let body = [&b"VP8L"[..], &6u32.to_le_bytes(), &[0x2f], &sizes.to_le_bytes(), &[0]].concat();
    [&b"RIFF"[..], &(4 + body.len() as u32).to_le_bytes(), b"WEBP", &body].concat()
}

#[test]
fn images_that_ask_for_much_or_end_early() {
    use image::{ImageFormat, RgbImage};
    let lab = scratch("bad-images");
    let picture = RgbImage::from_fn(64, 48, |x, y| image::Rgb([(x * y) as u8, (x ^ y) as u8, (x + 3 * y) as u8]));
    let encoded = |format| {
        let mut data = std::io::Cursor::new(vec![]);
        picture.write_to(&mut data, format).unwrap();
        data.into_inner()
    };
    let (whole, flat) = (encoded(ImageFormat::Jpeg), encoded(ImageFormat::Png));
    let mut all: Vec<(String, &str, Vec<u8>)> = vec![
        ("a PNG of 20000²".into(), "png", png(20_000)),
        ("a PNG of 30000²".into(), "png", png(30_000)),
        ("a JPEG of 18000²".into(), "jpg", jpeg(18_000)),
        ("a JPEG of 65535²".into(), "jpg", jpeg(65_535)),
        ("a WebP of 16383²".into(), "webp", webp(16_383)),
        ("an empty file".into(), "jpg", vec![]),
        ("text".into(), "png", b"no image\n".into()),
    ];
    for share in [10, 30, 50, 70, 90, 99] {
        all.push((format!("{share} % of a JPEG"), "jpg", whole[..whole.len() * share / 100].to_vec()));
        all.push((format!("{share} % of a PNG"), "png", flat[..flat.len() * share / 100].to_vec()));
    }
    let files: Vec<(String, String)> = all
        .into_iter()
        .enumerate()
        .map(|(i, (what, ending, data))| {
            let name = format!("data{i}/plaid/bad{i}.{ending}");
            crate::scenario::copy(&shared().join("images"), &lab.path().join(format!("data{i}")));
            std::fs::write(lab.path().join(&name), data).unwrap();
            (what, name)
        })
        .collect();
    let commands = |file: &str| {
        let data = file.split('/').next().unwrap();
        let tract = "--engine tract --threads 1";
        vec![
            format!("data {data}"),
            format!("finetune @b --data {data} --steps 1 {tract} -o out"),
            format!("eval @run --data {data} {tract}"),
            format!("predict @run {file} {tract}"),
            format!("fisher @m.onnx --data {data} {tract} -o out.safetensors"),
        ]
    };
    crate::scenario::copy(&shared().join("images"), &lab.path().join("good"));
    try_all(&files, "good/plaid/plaid-s0-00000.png", commands, lab.path());
}
