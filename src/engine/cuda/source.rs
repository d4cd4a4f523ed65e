//! CUDA C of an expression over single elements: one kernel that writes it, or that sums it over all but some axes and is followed by one that adds up its parts.
//!
//! It includes no header, so that the compiler needs nothing beside itself; what a test puts before it makes it C for a processor.

use super::super::native::Operation;
use crate::ir::DType;
use crate::pass::{CONSTANT, STEP};
use std::fmt::Write;

/// Rounds to the numbers of float16; an operation's number in a graph, beside those of [`Operation`].
pub const ROUND_F16: i64 = 1000;
/// Rounds to the numbers of bfloat16.
pub const ROUND_BF16: i64 = 1001;

/// What a tensor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    F32,
    F16,
    Bf16,
    Bool,
}

impl Element {
    /// What a graph's numbers of a type are made of.
    pub fn of(ty: DType) -> Option<Element> {
        Some(match ty {
            DType::F32 => Element::F32,
            DType::F16 => Element::F16,
            DType::BF16 => Element::Bf16,
            DType::Bool => Element::Bool,
            _ => return None,
        })
    }

    /// The name in the source's functions.
    fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::Bf16 => "bf16",
            Element::Bool => "bool",
        }
    }
}

/// How a tensor is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reading {
    /// The element of the same place.
    Whole,
    /// The one that it has.
    One,
    /// Each of `run` elements serves `inner` places, and all of them begin again behind the last: the pair of that number. Tensors with the same two numbers have the
    /// same pair.
    Spread(usize),
    /// One element for each channel of what is summed.
    Channel,
}

/// What is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// An operation and three operands each, as the pass writes them.
    pub steps: Vec<[i64; 4]>,
    pub constants: Vec<f32>,
    /// The step of each result.
    pub results: Vec<usize>,
    /// How many of the results, the last ones, are sums.
    pub sums: usize,
}

/// Of what, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Form {
    pub inputs: Vec<(Element, Reading)>,
    pub output: Element,
    /// How many pairs there are.
    pub pairs: usize,
    /// Whether four elements that follow each other are read and written at once.
    pub quads: bool,
    /// Whether such four have one element of every tensor that is spread, so that its place is found once.
    pub aligned: bool,
    /// Whether places need 64 bits.
    pub long: bool,
}

/// Before every source. Numbers of half precision go to and from float32 by the device's own instructions.
const PRELUDE: &str = r#"
typedef float f32_t; typedef unsigned short f16_t; typedef unsigned short bf16_t; typedef unsigned char bool_t;
typedef union { float f; unsigned u; } word;
DEVICE float bits(unsigned u) { word w; w.u = u; return w.f; }
DEVICE float from_f32(float x) { return x; }
DEVICE float to_f32(float x) { return x; }
DEVICE float from_bool(bool_t x) { return x ? 1.0f : 0.0f; }
DEVICE float from_bf16(bf16_t x) { return bits((unsigned)x << 16); }
DEVICE bf16_t to_bf16(float x) {
  word w; w.f = x;
  if (x != x) return 0x7fff;
  return (bf16_t)((w.u + 0x7fffu + ((w.u >> 16) & 1u)) >> 16);
}
"#;

/// What makes it CUDA C.
const CUDA: &str = r#"
#define DEVICE static __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define RESTRICT __restrict__
#define ALIGNED(n) __align__(n)
#define UNROLL _Pragma("unroll")
#define SHARED __shared__
#define SYNCHRONIZE __syncthreads
DEVICE float from_f16(unsigned short x) { float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x)); return f; }
DEVICE unsigned short to_f16(float x) { unsigned short h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x)); return h; }
"#;

/// Threads of a block of a kernel that sums; a power of two.
pub const SUMMING: u32 = 256;
/// Threads of a block of the kernel that adds up parts; a power of two.
pub const FINISHING: u32 = 32;

/// Which step or constant an operand names, of those that are counted from `first` on.
fn number(operand: i64, first: i64) -> Option<usize> {
    operand.checked_sub(first).and_then(|n| usize::try_from(n).ok())
}

impl Expression {
    /// Whether every step reads what is there, and is an operation.
    pub fn check(&self, inputs: usize) -> Result<(), String> {
        let known = |at: usize, operand: i64| match operand {
            STEP.. => number(operand, STEP).is_some_and(|s| s < at),
            CONSTANT.. => number(operand, CONSTANT).is_some_and(|c| c < self.constants.len()),
            0.. => usize::try_from(operand).is_ok_and(|i| i < inputs),
            _ => false,
        };
        let sound = |(at, step): (usize, &[i64; 4])| {
            let [code, operands @ ..] = step;
            operation(*code, ["a", "b", "c"]).is_some() && operands.iter().all(|&o| known(at, o))
        };
        match self.steps.iter().enumerate().all(sound)
            && self.results.iter().all(|&r| r < self.steps.len())
            && self.sums <= self.results.len()
        {
            true => Ok(()),
            false => Err("an expression has a step that is none".into()),
        }
    }

    /// The source for the device.
    pub fn cuda(&self, form: &Form) -> String {
        [CUDA, &self.source(form)].concat()
    }

    /// The source without what makes it CUDA C.
    pub fn source(&self, form: &Form) -> String {
        let place = if form.long { "unsigned long long" } else { "unsigned" };
        let mut text = format!("{PRELUDE}typedef {place} place;\n");
        for (element, bytes) in [("f32", 16), ("f16", 8), ("bool", 4)] {
            let _ = writeln!(text, "typedef struct ALIGNED({bytes}) {{ {element}_t v[4]; }} {element}_quad;");
        }
        text.push_str("typedef f16_quad bf16_quad;\n");
        match self.sums {
            0 => self.writing(&mut text, form),
            _ => self.summing(&mut text, form),
        }
        text
    }

    /// The parameters of inputs and of results that are written whole.
    fn parameters(&self, form: &Form) -> String {
        let mut text = String::new();
        for (i, (element, _)) in form.inputs.iter().enumerate() {
            let _ = write!(text, "const {}_t *RESTRICT x{i}, ", element.name());
        }
        for pair in 0..form.pairs {
            let _ = write!(text, "place inner{pair}, place run{pair}, ");
        }
        for r in 0..self.whole() {
            let _ = write!(text, "{}_t *RESTRICT y{r}, ", form.output.name());
        }
        text
    }

    /// How many results are written whole.
    pub fn whole(&self) -> usize {
        self.results.len().saturating_sub(self.sums)
    }

    /// `float t0 = …;` for each step, of the elements `e0`, `e1` and so on of the inputs.
    fn steps(&self) -> String {
        let name = |operand: i64| match operand {
            STEP.. => format!("t{}", number(operand, STEP).unwrap_or(usize::MAX)),
            CONSTANT.. => {
                let constant = number(operand, CONSTANT).and_then(|c| self.constants.get(c)).copied().unwrap_or(f32::NAN);
                format!("bits({:#x}u)", constant.to_bits())
            }
            _ => format!("e{operand}"),
        };
        let mut text = String::new();
        for (at, [code, a, b, c]) in self.steps.iter().enumerate() {
            let [a, b, c] = [name(*a), name(*b), name(*c)];
            let computed = operation(*code, [&a, &b, &c]).unwrap_or_else(|| "0.0f/0.0f".into());
            let _ = writeln!(text, "    float t{at} = {computed};");
        }
        text
    }

    /// Where the element of each pair is for the place `i`.
    fn places(form: &Form) -> String {
        (0..form.pairs).map(|pair| format!("    place p{pair} = (i / inner{pair}) % run{pair};\n")).collect()
    }

    /// The elements of the inputs at the place `i`, the `j`th of a quad.
    fn elements(form: &Form, quads: bool) -> String {
        let mut text = String::new();
        for (k, (element, reading)) in form.inputs.iter().enumerate() {
            let from = match reading {
                Reading::Whole if quads => format!("q{k}.v[j]"),
                Reading::Whole => format!("x{k}[i]"),
                Reading::One => format!("x{k}[0]"),
                Reading::Spread(pair) => format!("x{k}[p{pair}]"),
                Reading::Channel => format!("x{k}[channel]"),
            };
            let _ = writeln!(text, "    float e{k} = from_{}({from}); (void)e{k};", element.name());
        }
        text
    }

    fn writing(&self, text: &mut String, form: &Form) {
        let (output, each) = (form.output.name(), if form.quads { 4 } else { 1 });
        let _ = writeln!(text, "KERNEL expression({}place n) {{", self.parameters(form));
        text.push_str("  place stride = (place)gridDim.x * blockDim.x;\n");
        let _ = writeln!(text, "  for (place at = (place)blockIdx.x * blockDim.x + threadIdx.x; at < n / {each}; at += stride) {{");
        if form.quads {
            for (k, (element, _)) in form.inputs.iter().enumerate().filter(|(_, i)| i.1 == Reading::Whole) {
                let name = element.name();
                let _ = writeln!(text, "    {name}_quad q{k} = ((const {name}_quad *)x{k})[at];");
            }
            for r in 0..self.results.len() {
                let _ = writeln!(text, "    {output}_quad z{r};");
            }
        }
        if form.aligned {
            let _ = writeln!(text, "    place i = at * {each};\n{}", Self::places(form));
        }
        let _ = writeln!(text, "    UNROLL for (int j = 0; j < {each}; ++j) {{");
        if !form.aligned {
            let _ = writeln!(text, "    place i = at * {each} + j; (void)i;\n{}", Self::places(form));
        }
        text.push_str(&Self::elements(form, form.quads));
        text.push_str(&self.steps());
        for (r, step) in self.results.iter().enumerate() {
            let to = if form.quads { format!("z{r}.v[j]") } else { format!("y{r}[i]") };
            let _ = writeln!(text, "    {to} = to_{output}(t{step});");
        }
        text.push_str("    }\n");
        if form.quads {
            for r in 0..self.results.len() {
                let _ = writeln!(text, "    (({output}_quad *)y{r})[at] = z{r};");
            }
        }
        text.push_str("  }\n}\n");
    }

    /// A block sums a part of what belongs to a channel: places are `[outer, channels, inner]`.
    fn summing(&self, text: &mut String, form: &Form) {
        let output = form.output.name();
        let (whole, sums) = self.results.split_at(self.whole());
        let _ = writeln!(
            text,
            "KERNEL expression({}place outer, place channels, place inner, float *RESTRICT parts) {{",
            self.parameters(form)
        );
        let _ = writeln!(text, "  SHARED float shared[{SUMMING}];");
        text.push_str("  place channel = blockIdx.x, total = outer * inner;\n");
        for s in 0..sums.len() {
            let _ = writeln!(text, "  float s{s} = 0.0f;");
        }
        text.push_str(
            "  for (place at = (place)blockIdx.y * blockDim.x + threadIdx.x; at < total; at += (place)gridDim.y * blockDim.x) {\n",
        );
        text.push_str("    place o = at / inner, i = (o * channels + channel) * inner + (at - o * inner); (void)i;\n");
        text.push_str(&Self::places(form));
        text.push_str(&Self::elements(form, false));
        text.push_str(&self.steps());
        for (r, step) in whole.iter().enumerate() {
            let _ = writeln!(text, "    y{r}[i] = to_{output}(t{step});");
        }
        for (s, step) in sums.iter().enumerate() {
            let _ = writeln!(text, "    s{s} += t{step};");
        }
        text.push_str("  }\n");
        for s in 0..sums.len() {
            let _ = writeln!(text, "  shared[threadIdx.x] = s{s}; SYNCHRONIZE();");
            text.push_str("  for (unsigned h = blockDim.x / 2; h > 0; h /= 2) { if (threadIdx.x < h) shared[threadIdx.x] += shared[threadIdx.x + h]; SYNCHRONIZE(); }\n");
            let _ =
                writeln!(text, "  if (threadIdx.x == 0) parts[({s} * (place)gridDim.y + blockIdx.y) * channels + channel] = shared[0];");
            text.push_str("  SYNCHRONIZE();\n");
        }
        text.push_str("}\n");
        text.push_str("KERNEL finish(const float *RESTRICT parts, place channels, place splits, float count");
        for s in 0..sums.len() {
            let _ = write!(text, ", {output}_t *y{s}");
        }
        let _ = writeln!(text, ") {{\n  SHARED float shared[{FINISHING}];\n  float sum = 0.0f;");
        text.push_str(
            "  for (place k = threadIdx.x; k < splits; k += blockDim.x) sum += parts[(blockIdx.y * splits + k) * channels + blockIdx.x];\n",
        );
        text.push_str("  shared[threadIdx.x] = sum; SYNCHRONIZE();\n");
        text.push_str("  for (unsigned h = blockDim.x / 2; h > 0; h /= 2) { if (threadIdx.x < h) shared[threadIdx.x] += shared[threadIdx.x + h]; SYNCHRONIZE(); }\n");
        text.push_str("  if (threadIdx.x == 0) {\n");
        for s in 0..sums.len() {
            let _ = writeln!(text, "    if (blockIdx.y == {s}) y{s}[blockIdx.x] = to_{output}(shared[0] / count);");
        }
        text.push_str("  }\n}\n");
    }
}

/// An operation on operands, as the processor's kernels compute it: a NaN stays one, a truth is 1 and anything false 0.
fn operation(code: i64, [a, b, c]: [&str; 3]) -> Option<String> {
    match code {
        ROUND_F16 => return Some(format!("from_f16(to_f16({a}))")),
        ROUND_BF16 => return Some(format!("from_bf16(to_bf16({a}))")),
        _ => {}
    }
    let truth = |condition: String| format!("({condition}) ? 1.0f : 0.0f");
    let at_least = |x: &str, low: &str| format!("(({x}) < ({low}) ? ({low}) : ({x}))");
    let at_most = |x: &str, high: &str| format!("(({x}) > ({high}) ? ({high}) : ({x}))");
    Some(match Operation::ALL.get(usize::try_from(code).ok()?)? {
        Operation::Same => a.to_string(),
        Operation::Add => format!("{a} + {b}"),
        Operation::Sub => format!("{a} - {b}"),
        Operation::Mul | Operation::And => format!("{a} * {b}"),
        Operation::Div => format!("{a} / {b}"),
        Operation::Max => format!("({a} > {b} || {a} != {a}) ? {a} : {b}"),
        Operation::Min => format!("({a} < {b} || {a} != {a}) ? {a} : {b}"),
        Operation::Neg => format!("-{a}"),
        Operation::Abs => format!("fabsf({a})"),
        Operation::Sqrt => format!("sqrtf({a})"),
        Operation::Reciprocal => format!("1.0f / {a}"),
        Operation::Exp => format!("expf({a})"),
        Operation::Relu => format!("{a} < 0.0f ? 0.0f : {a}"),
        Operation::LeakyRelu => format!("{a} < 0.0f ? {a} * {b} : {a}"),
        Operation::Clip => at_most(&at_least(a, b), c),
        Operation::Sigmoid => format!("1.0f / (1.0f + expf(-{a}))"),
        Operation::HardSigmoid => at_least(&at_most(&format!("{a} * {b} + {c}"), "1.0f"), "0.0f"),
        Operation::HardSwish => format!("{a} * {}", at_least(&at_most(&format!("{a} * (1.0f / 6.0f) + 0.5f"), "1.0f"), "0.0f")),
        Operation::Greater => truth(format!("{a} > {b}")),
        Operation::Less => truth(format!("{a} < {b}")),
        Operation::GreaterOrEqual => truth(format!("{a} >= {b}")),
        Operation::LessOrEqual => truth(format!("{a} <= {b}")),
        Operation::Or => format!("{a} > {b} ? {a} : {b}"),
        Operation::Not => format!("1.0f - {a}"),
        Operation::Where => format!("{a} != 0.0f ? {b} : {c}"),
        Operation::Erf => format!("erff({a})"),
        Operation::Tanh => format!("tanhf({a})"),
        Operation::Softplus => format!("({}) + log1pf(expf(-fabsf({a})))", at_least(a, "0.0f")),
        Operation::Softsign => format!("{a} / (1.0f + fabsf({a}))"),
        Operation::Log => format!("logf({a})"),
        Operation::Elu => format!("{a} > 0.0f ? {a} : {b} * expm1f({})", at_most(a, "0.0f")),
        Operation::Selu => format!("{c} * ({a} > 0.0f ? {a} : {b} * expm1f({}))", at_most(a, "0.0f")),
        Operation::Threshold => format!("{a} <= {b} ? 0.0f : {a}"),
        Operation::Shrink => format!("{a} > {c} ? {a} - {b} : {a} < -{c} ? {a} + {b} : {a} != {a} ? {a} : 0.0f"),
        Operation::Power => format!("{b} == 2.0f ? {a} * {a} : {a} * {a} * {a}"),
        Operation::Equal => truth(format!("{a} == {b}")),
    })
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
