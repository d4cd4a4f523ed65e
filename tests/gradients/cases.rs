//! The table of gradient checks: at least one case for every differentiable operator.

use spgraph::ir::Tensor;
use spgraph::onnx::attributes::{attr_float, attr_int, attr_ints, attr_string};
use spgraph::onnx::pb::AttributeProto;

pub enum Input {
    /// Differentiable, with random values between `lo` and `hi`. The first one is the model's input, others are initializers.
    Float {
        shape: Vec<usize>,
        lo: f64,
        hi: f64,
    },
    /// An initializer that is not differentiated.
    Fixed(Tensor),
    /// The same without conversion to the precision of the run.
    Exactly(Tensor),
    Absent,
}

pub struct Case {
    pub op: &'static str,
    pub opset: i64,
    pub attributes: Vec<AttributeProto>,
    pub inputs: Vec<Input>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Which outputs have a cotangent.
    pub used: Vec<bool>,
    /// Whether it also works with a symbolic batch.
    pub dynamic: bool,
    pub batch_norm_train: bool,
    /// Whether the Dropout that it is drops.
    pub dropout_train: bool,
    /// Whether ONNX has it in float64, too.
    pub double: bool,
    /// Step of the central differences.
    pub step: f64,
    note: String,
}

impl Case {
    pub fn label(&self) -> String {
        let shapes = self.inputs.iter().filter_map(|i| if let Input::Float { shape, .. } = i { Some(format!("{shape:?}")) } else { None });
        format!("{}-{} {} {}", self.op, self.opset, shapes.collect::<Vec<_>>().join(" "), self.note)
    }

    /// The table's entry that this case tests.
    pub fn covers(&self) -> &str {
        match (self.batch_norm_train, self.dropout_train) {
            (true, _) => "BatchNormTrain",
            (_, true) => "DropoutTrain",
            _ => self.op,
        }
    }

    pub fn at(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// Adds a differentiable input.
    pub fn and(self, shape: &[usize]) -> Self {
        self.within(shape, -2.0, 2.0)
    }

    pub fn within(mut self, shape: &[usize], lo: f64, hi: f64) -> Self {
        self.inputs.push(Input::Float { shape: shape.to_vec(), lo, hi });
        self
    }

    pub fn fixed(mut self, tensor: Tensor) -> Self {
        self.inputs.push(Input::Fixed(tensor));
        self
    }

    /// An initializer of its own element type in every run.
    pub fn exactly(mut self, tensor: Tensor) -> Self {
        self.note.push_str(&format!("{:?} ", tensor.to_f64().unwrap_or_default()));
        self.inputs.push(Input::Exactly(tensor));
        self
    }

    pub fn attribute(mut self, attribute: AttributeProto) -> Self {
        self.note.push_str(attribute.name());
        self.attributes.push(attribute);
        self
    }

    /// Adds a list of integers.
    pub fn list(self, values: &[i64]) -> Self {
        self.fixed(Tensor::from_i64(&[values.len()], values))
    }

    pub fn absent(mut self) -> Self {
        self.inputs.push(Input::Absent);
        self
    }

    pub fn int(mut self, name: &str, value: i64) -> Self {
        self.note.push_str(&format!("{name}={value} "));
        self.attributes.push(attr_int(name, value));
        self
    }

    pub fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.note.push_str(&format!("{name}={values:?} "));
        self.attributes.push(attr_ints(name, values));
        self
    }

    pub fn float(mut self, name: &str, value: f32) -> Self {
        self.note.push_str(&format!("{name}={value} "));
        self.attributes.push(attr_float(name, value));
        self
    }

    pub fn string(mut self, name: &str, value: &str) -> Self {
        self.note.push_str(&format!("{name}={value} "));
        self.attributes.push(attr_string(name, value));
        self
    }

    /// Outputs in all, and which of them have a cotangent.
    pub fn outputs(mut self, used: &[bool]) -> Self {
        self.outputs = (0..used.len()).map(|i| format!("y{i}")).collect();
        self.used = used.to_vec();
        self
    }

    /// Needs a batch size that is a number.
    pub fn fixed_batch(mut self) -> Self {
        self.dynamic = false;
        self
    }

    /// Linear: any step gives the slope, and a large one drowns the rounding to float32.
    pub fn rounded(mut self) -> Self {
        self.step = 64.0;
        self
    }

    /// ONNX has it in float32 alone, where differences say nothing: its golden values are PyTorch's.
    pub fn single(mut self) -> Self {
        self.double = false;
        self
    }

    /// Whether the source computes something else: what it does in training only.
    pub fn in_training(&self) -> bool {
        self.batch_norm_train || self.dropout_train
    }

    fn dropout_train(mut self) -> Self {
        self.dropout_train = true;
        self
    }

    fn batch_norm_train(mut self) -> Self {
        self.batch_norm_train = true;
        self.note.push_str("train");
        self
    }
}

/// An operator without inputs yet, at opset 17, with one output.
pub fn bare(op: &'static str) -> Case {
    Case {
        op,
        opset: 17,
        attributes: vec![],
        inputs: vec![],
        outputs: vec!["y".into()],
        used: vec![true],
        dynamic: true,
        batch_norm_train: false,
        dropout_train: false,
        double: true,
        step: 1e-5,
        note: String::new(),
    }
}

pub fn on(op: &'static str, shape: &[usize]) -> Case {
    bare(op).and(shape)
}

pub fn scalar(v: f64) -> Tensor {
    Tensor::from_f64(&[], &[v])
}

pub fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = [element_wise(), linear(), stacked(), windows(), reductions(), layout(), activations(), normalizations()]
        .into_iter()
        .flatten()
        .collect();
    all.extend(super::attention::cases());
    all.extend(super::indexing::cases());
    all.extend(super::products::cases());
    all.extend(super::resizing::cases());
    all
}

fn element_wise() -> Vec<Case> {
    let x = [3, 4, 5];
    let positive = |op| bare(op).within(&x, 0.5, 2.0);
    vec![
        on("Relu", &x),
        on("LeakyRelu", &x),
        on("LeakyRelu", &x).float("alpha", 0.25),
        on("Sigmoid", &x),
        on("Softplus", &x),
        on("Softsign", &x),
        on("Erf", &x),
        on("Tanh", &x),
        on("Exp", &x),
        on("Abs", &x),
        on("Neg", &x),
        positive("Log"),
        positive("Sqrt"),
        on("HardSigmoid", &x),
        on("HardSigmoid", &x).float("alpha", 0.5).float("beta", 0.25),
        bare("HardSwish").within(&x, -5.0, 5.0),
        on("Clip", &x).fixed(scalar(-1.0)).fixed(scalar(0.5)),
        on("Clip", &x).absent().fixed(scalar(0.5)),
        on("Clip", &x).float("min", 0.0).float("max", 1.5).at(10),
        on("Clip", &x),
        on("Add", &x).and(&x[1..]),
        on("Add", &x).and(&x).fixed_batch(),
        on("Sub", &[3, 1, 5]).and(&[4, 1]),
        on("Mul", &x).and(&[1, 4, 1]),
        on("Mul", &[3, 4]).and(&[2, 1, 4]),
        positive("Div").within(&[5], 0.5, 2.0),
        bare("Div").within(&[3, 1], 0.5, 2.0).within(&[4], -2.0, -0.5),
        on("Pow", &x).fixed(scalar(2.0)),
        on("Pow", &x).fixed(scalar(3.0)),
        on("Pow", &x).fixed(scalar(1.0)),
        on("Pow", &x).fixed(scalar(0.0)),
        positive("Pow").fixed(scalar(-0.5)),
        on("Sum", &x).and(&[5]).and(&[4, 1]),
        on("Sum", &x),
        on("Softmax", &[3, 4]),
        on("Softmax", &x).int("axis", 1),
        on("Softmax", &[3, 4]).at(11),
        on("Softmax", &x).at(11),
        on("Softmax", &x).int("axis", 0).at(7).fixed_batch(),
        on("LogSoftmax", &[3, 2, 4, 5]).int("axis", 2).at(11),
        on("LogSoftmax", &[3, 4]),
        on("LogSoftmax", &x).int("axis", 1),
        on("Where", &x).fixed_condition(&x[1..]).and(&x[1..]),
        on("Where", &[3, 1, 5]).fixed_condition(&[4, 1]).and(&[1]),
    ]
}

impl Case {
    /// Puts a boolean in front of the inputs so far.
    fn fixed_condition(mut self, shape: &[usize]) -> Self {
        let values: Vec<bool> = (0..shape.iter().product()).map(|i| i % 3 != 1).collect();
        self.inputs.insert(0, Input::Fixed(Tensor::from_bool(shape, &values)));
        self
    }
}

fn activations() -> Vec<Case> {
    let x = [3, 4, 5];
    let inside = |op| bare(op).within(&x, -0.9, 0.9);
    let positive = |op| bare(op).within(&x, 1.1, 2.0);
    vec![
        on("Gelu", &x).at(20),
        on("Gelu", &x).string("approximate", "tanh").at(20),
        on("Elu", &x),
        on("Elu", &x).float("alpha", 0.3),
        on("Selu", &x),
        on("Selu", &x).float("alpha", 0.5).float("gamma", 2.0),
        on("Celu", &x).single(),
        on("Celu", &x).float("alpha", 0.3).single(),
        on("Mish", &x).at(18),
        on("Swish", &x).at(24),
        on("Swish", &x).float("alpha", 1.7).at(24),
        on("ThresholdedRelu", &x),
        on("ThresholdedRelu", &x).float("alpha", 0.3),
        on("Shrink", &x),
        on("Shrink", &x).float("lambd", 0.7).float("bias", 0.3),
        on("PRelu", &x).and(&[4, 1]),
        on("PRelu", &x).and(&[1]),
        on("PRelu", &[2, 3, 2, 2]).and(&[3, 1, 1]).at(7),
        on("Sin", &x),
        on("Cos", &x),
        on("Sinh", &x),
        on("Cosh", &x),
        inside("Tan"),
        inside("Asin"),
        inside("Acos"),
        inside("Atanh"),
        on("Atan", &x),
        on("Asinh", &x),
        positive("Acosh"),
        positive("Reciprocal"),
        bare("Reciprocal").within(&x, -2.0, -0.5),
        on("Max", &x).and(&x[1..]).and(&[1]),
        on("Max", &x),
        on("Min", &x).and(&[4, 1]),
        on("Min", &x).and(&x).and(&x).fixed_batch(),
        on("Mean", &x).and(&[5]).and(&[4, 1]),
        on("Mean", &x),
        positive("Pow").and(&[5]),
        positive("Pow").and(&[4, 1]).at(7),
        on("Pow", &x).fixed(Tensor::from_f64(&[5], &[2.0, 3.0, 0.0, 1.0, 2.0])),
        on("Pow", &x).list(&[3]),
        on("Pow", &x).list(&[2, 1, 0, 3, 2]),
        positive("Mod").within(&[5], 0.4, 0.9).int("fmod", 1),
        bare("Mod").within(&x, -3.9, -3.1).within(&[4, 1], 1.1, 1.5).int("fmod", 1),
    ]
}

fn normalizations() -> Vec<Case> {
    let affine = |op, x: &[usize], shape: &[usize]| on(op, x).within(shape, 0.5, 1.5).and(shape);
    let image = [2, 6, 3, 2];
    let grouped = |shape: &[usize], groups: i64, opset| affine("GroupNormalization", &image, shape).int("num_groups", groups).at(opset);
    vec![
        affine("LayerNormalization", &[3, 4, 5], &[5]),
        affine("LayerNormalization", &[3, 4, 5], &[4, 5]).int("axis", 1).float("epsilon", 0.1),
        affine("LayerNormalization", &[3, 4, 5], &[1]),
        affine("LayerNormalization", &[3, 4, 5], &[3, 1, 5]).int("axis", 0).fixed_batch(),
        on("LayerNormalization", &[2, 3, 2, 5]).and(&[5]),
        on("LayerNormalization", &[3, 4, 5]).and(&[4, 5]).and(&[1, 5]).int("axis", 1),
        on("RMSNormalization", &[3, 4, 5]).and(&[5]).at(23),
        on("RMSNormalization", &[3, 4, 5]).and(&[4, 1]).int("axis", -2).float("epsilon", 0.1).at(23),
        affine("InstanceNormalization", &image, &[6]),
        affine("InstanceNormalization", &[2, 3, 7], &[3]).float("epsilon", 0.1),
        grouped(&[6], 3, 21),
        grouped(&[6], 1, 21).float("epsilon", 0.1),
        grouped(&[3], 3, 18),
        grouped(&[6], 6, 18),
        on("LpNormalization", &[3, 4, 5]),
        on("LpNormalization", &[3, 4, 5]).int("p", 1).int("axis", 1),
        on("MeanVarianceNormalization", &image),
        on("MeanVarianceNormalization", &image).ints("axes", &[1, 3]).at(9),
        on("LRN", &image).int("size", 3).float("alpha", 0.5),
        on("LRN", &image).int("size", 4).float("alpha", 0.7).float("beta", 0.5).float("bias", 2.0),
        on("LRN", &[2, 3, 5]).int("size", 5).float("alpha", 0.5),
        affine("GroupNormalization", &[2, 6], &[6]).int("num_groups", 2).at(21),
    ]
}

fn linear() -> Vec<Case> {
    let bn = |x: &[usize]| on("BatchNormalization", x).within(&x[1..2], 0.5, 1.5).and(&x[1..2]);
    let statistics = |case: Case| case.fixed(Tensor::from_f64(&[3], &[0.1, -0.2, 0.3])).fixed(Tensor::from_f64(&[3], &[0.5, 1.0, 2.0]));
    vec![
        on("MatMul", &[3, 4]).and(&[4, 5]),
        on("MatMul", &[2, 3, 4]).and(&[4, 5]),
        on("MatMul", &[2, 3, 4]).and(&[2, 4, 5]).fixed_batch(),
        on("MatMul", &[2, 3, 3, 4]).and(&[3, 4, 2]),
        on("Gemm", &[3, 4]).and(&[4, 5]),
        on("Gemm", &[3, 4]).and(&[5, 4]).and(&[5]).int("transB", 1),
        on("Gemm", &[3, 4]).and(&[4, 5]).and(&[1]).float("alpha", 0.5).float("beta", 2.0),
        on("Gemm", &[4, 3]).and(&[5, 4]).and(&[3, 1]).int("transA", 1).int("transB", 1).fixed_batch(),
        on("Gemm", &[4, 3]).and(&[4, 5]).int("transA", 1).fixed_batch(),
        on("Conv", &[2, 3, 5, 6]).and(&[4, 3, 3, 3]).and(&[4]),
        on("Conv", &[2, 3, 5, 6]).and(&[4, 3, 1, 1]),
        on("Conv", &[2, 3, 5, 6]).and(&[4, 3, 1, 1]).ints("strides", &[2, 2]),
        on("Conv", &[2, 3, 7, 6]).and(&[4, 3, 3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        on("Conv", &[2, 3, 7, 6]).and(&[4, 3, 3, 2]).ints("strides", &[2, 1]).ints("pads", &[1, 0, 2, 1]),
        on("Conv", &[2, 3, 8, 8]).and(&[4, 3, 3, 3]).ints("dilations", &[2, 2]).ints("pads", &[2, 2, 2, 2]),
        on("Conv", &[2, 3, 8, 9]).and(&[4, 3, 3, 3]).ints("dilations", &[1, 2]).ints("strides", &[3, 2]),
        on("Conv", &[2, 4, 5, 5]).and(&[6, 2, 3, 3]).and(&[6]).int("group", 2).ints("pads", &[1, 1, 1, 1]),
        on("Conv", &[2, 4, 5, 5]).and(&[4, 1, 3, 3]).int("group", 4).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        on("Conv", &[2, 2, 5, 5]).and(&[4, 1, 3, 3]).int("group", 2),
        on("Conv", &[2, 3, 9, 8]).and(&[4, 3, 3, 3]).ints("strides", &[2, 2]).string("auto_pad", "SAME_UPPER"),
        on("Conv", &[2, 3, 9, 8]).and(&[4, 3, 2, 2]).string("auto_pad", "SAME_LOWER"),
        on("Conv", &[2, 3, 13, 14]).and(&[4, 3, 7, 7]).ints("strides", &[2, 2]).ints("pads", &[3, 3, 3, 3]),
        on("Conv", &[1, 2, 30, 29]).and(&[2, 2, 3, 3]).ints("pads", &[1, 1, 1, 1]),
        on("Conv", &[1, 30, 29, 29]).and(&[2, 30, 2, 2]),
        on("Conv", &[1, 17, 57, 58]).and(&[2, 17, 3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        on("Conv", &[1, 17, 60, 57]).and(&[2, 17, 3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        // More channels, and an output of the input's size or a whole fraction of it.
        on("Conv", &[2, 8, 5, 6]).and(&[3, 8, 3, 3]).ints("pads", &[1, 1, 1, 1]),
        on("Conv", &[2, 8, 5, 5]).and(&[3, 8, 3, 3]).ints("dilations", &[2, 2]).ints("pads", &[2, 2, 2, 2]),
        on("Conv", &[2, 17, 6, 8]).and(&[2, 17, 3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        on("Conv", &[2, 13, 6, 6]).and(&[2, 13, 5, 4]).ints("strides", &[2, 3]).ints("pads", &[2, 1, 1, 0]),
        on("Conv", &[1, 17, 4, 6]).and(&[2, 17, 2, 2]).string("auto_pad", "SAME_UPPER"),
        on("Conv", &[2, 25, 7]).and(&[2, 25, 3]).ints("pads", &[1, 1]),
        on("Conv", &[1, 6, 4, 5, 3]).and(&[2, 6, 3, 2, 3]).ints("pads", &[1, 0, 1, 1, 1, 1]),
        on("Conv", &[2, 3, 9]).and(&[4, 3, 3]).ints("strides", &[2]).ints("pads", &[1, 1]),
        on("Conv", &[2, 2, 4, 5, 4]).and(&[3, 2, 3, 2, 2]).ints("pads", &[1, 0, 0, 1, 1, 0]),
        on("ConvTranspose", &[2, 3, 4, 5]).and(&[3, 4, 3, 3]).and(&[4]),
        on("ConvTranspose", &[2, 3, 4, 5])
            .and(&[3, 4, 3, 2])
            .ints("strides", &[2, 3])
            .ints("pads", &[1, 0, 0, 1])
            .ints("output_padding", &[1, 0]),
        on("ConvTranspose", &[2, 4, 4, 4]).and(&[4, 2, 3, 3]).int("group", 2).ints("dilations", &[2, 1]),
        statistics(bn(&[2, 3, 4, 5])),
        statistics(bn(&[4, 3])).float("epsilon", 0.1),
        statistics(bn(&[2, 3, 4, 5])).batch_norm_train(),
        statistics(bn(&[4, 3])).float("epsilon", 0.1).batch_norm_train(),
    ]
}

/// Convolutions with more output channels than pixels, whose batch is stacked into one image where its size is known.
pub fn stacked() -> Vec<Case> {
    let conv = |x: &[usize], w: &[usize]| on("Conv", x).and(w);
    vec![
        conv(&[3, 2, 3, 4], &[13, 2, 3, 3]).ints("pads", &[1, 1, 1, 1]),
        conv(&[2, 2, 5, 4], &[9, 2, 3, 3]).and(&[9]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        conv(&[2, 2, 4, 4], &[5, 2, 3, 3]).ints("strides", &[2, 2]).ints("pads", &[0, 0, 1, 1]),
        conv(&[2, 2, 4, 5], &[21, 2, 2, 2]).string("auto_pad", "SAME_LOWER"),
        conv(&[2, 2, 6, 6], &[37, 2, 3, 3]).ints("dilations", &[1, 2]).ints("pads", &[1, 2, 1, 2]),
        conv(&[3, 2, 5, 5], &[10, 2, 3, 3]),
        conv(&[2, 2, 7, 6], &[7, 2, 2, 3]).ints("strides", &[3, 2]),
        conv(&[2, 3, 5, 4], &[2, 3, 1, 1]).ints("strides", &[2, 3]),
        conv(&[2, 3, 4, 4], &[2, 3, 1, 1]).and(&[2]),
        conv(&[2, 2, 5], &[6, 2, 3]).ints("pads", &[1, 1]),
        conv(&[2, 2, 4, 2, 3], &[25, 2, 3, 1, 2]).ints("pads", &[1, 0, 0, 1, 0, 1]),
    ]
}

fn windows() -> Vec<Case> {
    let pool = |op, x: &[usize], kernel: &[i64]| on(op, x).ints("kernel_shape", kernel);
    let max = |x: &[usize], kernel: &[i64]| pool("MaxPool", x, kernel);
    let mean = |x: &[usize], kernel: &[i64]| pool("AveragePool", x, kernel);
    let image = [2, 3, 9, 8];
    vec![
        max(&image, &[2, 2]).ints("strides", &[2, 2]),
        max(&image, &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        max(&[2, 2, 8, 8], &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        max(&[2, 2, 8, 8], &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[0, 0, 1, 1]),
        max(&image, &[3, 3]).ints("strides", &[2, 2]).int("ceil_mode", 1),
        max(&image, &[3, 3]).ints("pads", &[1, 1, 1, 1]),
        max(&image, &[2, 3]),
        max(&image, &[5, 5]).ints("pads", &[2, 2, 2, 2]),
        max(&image, &[5, 5]).ints("strides", &[2, 3]).ints("pads", &[2, 1, 2, 2]).int("ceil_mode", 1),
        max(&image, &[3, 2]).ints("strides", &[2, 3]).ints("pads", &[0, 1, 1, 0]),
        max(&image, &[3, 3]).ints("dilations", &[2, 2]).ints("strides", &[2, 2]),
        max(&image, &[2, 2]).ints("dilations", &[3, 2]).ints("pads", &[1, 1, 1, 1]),
        max(&image, &[2, 2]).ints("dilations", &[4, 3]).ints("pads", &[1, 1, 1, 1]).ints("strides", &[3, 3]).int("ceil_mode", 1),
        max(&image, &[1, 1]).ints("strides", &[2, 2]),
        max(&image, &[2, 2]).ints("strides", &[3, 3]),
        max(&image, &[2, 1]).ints("strides", &[3, 3]),
        max(&image, &[3, 3]).ints("strides", &[2, 2]).string("auto_pad", "SAME_UPPER"),
        max(&image, &[2, 2]).string("auto_pad", "SAME_LOWER"),
        max(&image, &[9, 8]),
        max(&[2, 3, 11], &[3]).ints("strides", &[2]).ints("pads", &[1, 1]),
        max(&[2, 2, 5, 4, 6], &[2, 2, 2]).ints("strides", &[2, 2, 2]),
        max(&[2, 2, 5, 4, 6], &[3, 3, 3]).ints("strides", &[1, 2, 2]).ints("pads", &[1, 1, 1, 1, 1, 1]),
        mean(&image, &[2, 2]).ints("dilations", &[2, 3]).at(19),
        mean(&image, &[3, 2]).ints("dilations", &[2, 2]).ints("strides", &[2, 3]).ints("pads", &[1, 1, 2, 0]).at(19),
        mean(&image, &[3, 3])
            .ints("dilations", &[2, 2])
            .ints("pads", &[1, 1, 1, 1])
            .int("count_include_pad", 1)
            .int("ceil_mode", 1)
            .ints("strides", &[2, 2])
            .at(22),
        mean(&[2, 3, 11], &[3]).ints("dilations", &[3]).ints("pads", &[2, 3]).at(19),
        pool("LpPool", &image, &[2, 3]).ints("dilations", &[2, 2]).int("p", 2).at(18),
        pool("LpPool", &image, &[3, 2]).ints("dilations", &[2, 1]).ints("pads", &[1, 0, 1, 1]).int("p", 3).at(22),
        mean(&image, &[2, 2]).ints("strides", &[2, 2]),
        mean(&image, &[2, 2]).ints("strides", &[3, 2]),
        mean(&image, &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        mean(&image, &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]).int("count_include_pad", 1),
        mean(&image, &[3, 3]).ints("pads", &[1, 1, 1, 1]).int("count_include_pad", 1),
        mean(&image, &[3, 3]).ints("pads", &[1, 1, 1, 1]),
        mean(&image, &[3, 2]).ints("strides", &[2, 1]).ints("pads", &[0, 1, 2, 0]),
        mean(&image, &[3, 3]).ints("strides", &[2, 2]).int("ceil_mode", 1),
        mean(&[2, 2, 7, 6], &[3, 3]).ints("strides", &[3, 3]).ints("pads", &[1, 1, 1, 1]).int("ceil_mode", 1).int("count_include_pad", 1),
        mean(&[2, 2, 7, 6], &[3, 3]).ints("strides", &[3, 3]).ints("pads", &[1, 1, 1, 1]).int("ceil_mode", 1),
        mean(&image, &[2, 2]).ints("strides", &[2, 2]).int("ceil_mode", 1),
        mean(&image, &[3, 3]).ints("strides", &[2, 2]).string("auto_pad", "SAME_UPPER"),
        mean(&image, &[9, 8]),
        mean(&image, &[9, 3]).ints("strides", &[1, 2]),
        mean(&[2, 3, 11], &[3]).ints("strides", &[2]).ints("pads", &[1, 1]),
        mean(&[2, 2, 5, 4, 6], &[2, 2, 2]).ints("strides", &[2, 1, 2]),
        pool("LpPool", &image, &[2, 2]).ints("strides", &[2, 2]),
        pool("LpPool", &image, &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 0]).int("p", 1),
        pool("LpPool", &image, &[3, 2]).int("p", 3),
        pool("LpPool", &image, &[3, 3]).ints("strides", &[2, 2]).string("auto_pad", "SAME_UPPER"),
        pool("LpPool", &image, &[3, 3]).ints("strides", &[2, 2]).int("ceil_mode", 1).at(18),
        on("GlobalLpPool", &image),
        on("GlobalLpPool", &image).int("p", 1),
        on("GlobalLpPool", &[2, 3, 4]).int("p", 3),
        on("GlobalAveragePool", &image),
        on("GlobalAveragePool", &[2, 3, 7]),
        on("GlobalMaxPool", &image),
        on("GlobalMaxPool", &[2, 3, 2, 3, 4]),
        on("SpaceToDepth", &[2, 3, 4, 6]).int("blocksize", 2),
        on("DepthToSpace", &[2, 8, 3, 4]).int("blocksize", 2),
        on("DepthToSpace", &[2, 8, 3, 4]).int("blocksize", 2).string("mode", "CRD"),
    ]
}

fn reductions() -> Vec<Case> {
    let x = [3, 4, 5];
    let attribute = |op| {
        vec![
            on(op, &x),
            on(op, &x).ints("axes", &[1]),
            on(op, &x).ints("axes", &[-1, 1]).int("keepdims", 0),
            on(op, &x).ints("axes", &[0, 2]).int("keepdims", 0),
            on(op, &x).list(&[2]).int("keepdims", 0).at(18),
        ]
    };
    let mut all: Vec<Case> =
        ["ReduceMean", "ReduceSumSquare", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceProd"]
            .into_iter()
            .flat_map(attribute)
            .collect();
    all.extend([
        on("ReduceSum", &x),
        on("ReduceSum", &x).list(&[1]),
        on("ReduceSum", &x).list(&[-1, 1]).int("keepdims", 0),
        on("ReduceSum", &x).list(&[0]).int("keepdims", 0),
        on("ReduceSum", &x).ints("axes", &[0, 1]).at(11),
        on("ReduceSum", &x).int("noop_with_empty_axes", 1),
        on("ReduceProd", &x).int("noop_with_empty_axes", 1).at(18),
        on("ReduceMin", &x).list(&[]).int("noop_with_empty_axes", 1).at(18),
        on("ReduceL2", &x).list(&[]).at(18),
        on("ReduceLogSumExp", &x).list(&[-1]).at(18),
        bare("ReduceLogSum").within(&x, 0.5, 2.0),
        bare("ReduceLogSum").within(&x, 0.5, 2.0).ints("axes", &[1]).int("keepdims", 0).at(11),
        bare("ReduceLogSum").within(&x, 0.5, 2.0).list(&[0, -1]).at(18),
    ]);
    all
}

fn layout() -> Vec<Case> {
    let x = [3, 4, 5];
    let slice = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| on("Slice", &x).list(starts).list(ends).list(axes).list(steps);
    vec![
        on("Identity", &x),
        on("Dropout", &x).fixed(scalar(0.3)),
        on("Dropout", &x).float("ratio", 0.3).at(10),
        on("Dropout", &x).fixed(scalar(0.3)).dropout_train(),
        on("Dropout", &[3, 2, 3, 4]).fixed(scalar(0.5)).dropout_train(),
        on("Cast", &x).int("to", 1).rounded(),
        on("Cast", &x).int("to", 11),
        on("CastLike", &x).fixed(Tensor::from_f64(&[1], &[0.0])),
        on("Reshape", &x).list(&[0, -1]),
        on("Reshape", &x).list(&[-1, 2, 10]),
        on("Reshape", &x).list(&[2, -1]).fixed_batch(),
        on("Flatten", &x),
        on("Flatten", &x).int("axis", -1),
        on("Flatten", &x).int("axis", 0),
        on("Squeeze", &[3, 1, 5, 1]).list(&[1]),
        on("Squeeze", &[3, 1, 5, 1]).ints("axes", &[-1, 1]).at(11),
        on("Squeeze", &[3, 1, 5, 1]),
        on("Unsqueeze", &x).list(&[0, -1]),
        on("Unsqueeze", &x).ints("axes", &[1, 3]).at(11),
        on("Transpose", &x),
        on("Transpose", &x).ints("perm", &[1, 2, 0]),
        on("Concat", &x).and(&[3, 2, 5]).int("axis", 1).fixed_batch(),
        on("Concat", &x).and(&[2, 4, 5]).int("axis", 0).fixed_batch(),
        slice(&[1, 0], &[3, 4], &[1, 2], &[1, 1]),
        slice(&[-1], &[i64::MIN], &[1], &[-1]),
        slice(&[-1, 0], &[-100, 100], &[2, 1], &[-2, 3]),
        slice(&[3, 1], &[0, 4], &[1, 2], &[-2, 2]),
        slice(&[0], &[i64::MAX], &[0], &[1]),
        slice(&[1], &[3], &[0], &[1]).fixed_batch(),
        on("Slice", &x).ints("starts", &[1]).ints("ends", &[-1]).ints("axes", &[1]).at(9),
        on("Split", &[3, 6]).int("axis", 1).outputs(&[true, true]),
        on("Split", &[3, 6]).list(&[1, 2, 3]).int("axis", 1).outputs(&[false, true, false]),
        on("Split", &[3, 6]).list(&[1, 2, 3]).int("axis", -1).outputs(&[true, false, true]),
        on("Split", &[3, 6]).ints("split", &[2, 4]).int("axis", 1).outputs(&[true, true]).at(11),
        on("Split", &[3, 7]).int("axis", 1).int("num_outputs", 2).outputs(&[true, true]).at(18),
        on("Pad", &x).list(&[0, 1, 2, 0, 0, 3]).fixed(scalar(0.5)),
        on("Pad", &x).list(&[0, -1, 2, 0, 1, -3]),
        on("Pad", &x).list(&[1, 0, 0, 1, 0, 0]).fixed_batch(),
        on("Pad", &x).ints("pads", &[0, 1, 0, 0, 1, 0]).float("value", 0.5).at(10),
        on("Pad", &x).list(&[1, 2]).absent().list(&[-1]).at(18),
        on("Pad", &x).list(&[0, 1, 2, 0, 3, 4]).string("mode", "reflect"),
        on("Pad", &x).list(&[0, 1, 2, 0, 3, 0]).string("mode", "edge"),
        on("Expand", &[3, 1, 5]).list(&[2, 1, 4, 1]),
        on("Expand", &[1, 5]).list(&[4, 5]).fixed_batch(),
        on("Tile", &[3, 4]).list(&[1, 2]),
        on("Tile", &[3, 4]).list(&[2, 3]),
        on("Gather", &x).fixed(Tensor::from_i64(&[], &[-2])).int("axis", 1),
        on("Gather", &x).fixed(Tensor::from_i64(&[2, 3], &[0, 1, 4, 4, 3, 0])).int("axis", 2),
        on("Gather", &x).list(&[2, 0]).fixed_batch(),
    ]
}
