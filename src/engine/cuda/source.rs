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

    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
            Element::Bool => 1,
        }
    }

    /// Lets a source speak of this type as `element`, with `from_element` and `to_element`.
    pub fn alias(self) -> String {
        let name = self.name();
        format!("typedef {name}_t element;\n#define from_element from_{name}\n#define to_element to_{name}\n")
    }

    /// The name in the source's functions.
    pub(super) fn name(self) -> &'static str {
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

/// What four places that follow each other read of a tensor that is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Along {
    /// One element, which is found once.
    Same,
    /// Elements that follow each other, the first of which is found once.
    Next,
    /// Each its own.
    Each,
}

impl Along {
    /// For a pair `(inner, run)`, where four are served at once.
    pub fn of((inner, run): (usize, usize)) -> Along {
        match (inner, run) {
            (1, _) if run.is_multiple_of(4) => Along::Next,
            _ if inner.is_multiple_of(4) => Along::Same,
            _ => Along::Each,
        }
    }
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
    /// How four places that follow each other are served, for each pair.
    pub pairs: Vec<Along>,
    /// Whether four elements that follow each other are read and written at once.
    pub quads: bool,
    /// Whether what is summed has its channels last, so that threads beside each other have channels that are.
    pub rows: bool,
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

/// What comes before every source: how it speaks, and of how many places.
pub fn before(long: bool) -> String {
    let place = if long { "unsigned long long" } else { "unsigned" };
    format!("{PRELUDE}typedef {place} place;\n")
}

/// A source for the device.
pub fn cuda(text: &str, long: bool) -> String {
    [CUDA, &before(long), text].concat()
}

/// Threads of a block of a kernel that sums; a power of two.
pub const SUMMING: u32 = 256;
/// Of these, those beside each other that have their own channels where channels are last; a power of two.
pub const LANES: u32 = 16;
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

    /// The kernels, to be put [`before`].
    pub fn source(&self, form: &Form) -> String {
        let mut text = String::new();
        for (element, bytes) in [("f32", 16), ("f16", 8), ("bool", 4)] {
            let _ = writeln!(text, "typedef struct ALIGNED({bytes}) {{ {element}_t v[4]; }} {element}_quad;");
        }
        text.push_str("typedef f16_quad bf16_quad;\n");
        match self.sums {
            0 => self.writing(&mut text, form),
            _ if form.rows => self.summing_rows(&mut text, form),
            // Places of one channel do not follow each other in fours.
            _ => self.summing(&mut text, &Form { quads: false, ..form.clone() }),
        }
        if self.sums > 0 {
            self.finishing(&mut text, form);
        }
        text
    }

    /// The parameters of inputs and of results that are written whole.
    pub(super) fn parameters(&self, form: &Form) -> String {
        let mut text = String::new();
        for (i, (element, _)) in form.inputs.iter().enumerate() {
            let _ = write!(text, "const {}_t *RESTRICT x{i}, ", element.name());
        }
        for pair in 0..form.pairs.len() {
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

    /// Where the element of each pair is: of those that a quad finds once for the place `first`, of others for the place `i`.
    fn places(form: &Form, once: bool) -> String {
        let mut text = String::new();
        for (pair, along) in form.pairs.iter().enumerate().filter(|(_, along)| (form.quads && **along != Along::Each) == once) {
            let from = if once { "first" } else { "i" };
            let _ = match (once, along) {
                (true, Along::Next) => writeln!(text, "    place p{pair} = {from} % run{pair};"),
                _ => writeln!(text, "    place p{pair} = ({from} / inner{pair}) % run{pair};"),
            };
        }
        text
    }

    /// The elements of the inputs at the place `i`, the `j`th of a quad.
    fn elements(form: &Form) -> String {
        let mut text = String::new();
        for (k, (element, reading)) in form.inputs.iter().enumerate() {
            let from = match reading {
                Reading::Whole if form.quads => format!("q{k}.v[j]"),
                Reading::Whole => format!("x{k}[i]"),
                Reading::One => format!("x{k}[0]"),
                Reading::Spread(pair) if form.quads && form.pairs.get(*pair) == Some(&Along::Next) => format!("x{k}[p{pair} + j]"),
                Reading::Spread(pair) => format!("x{k}[p{pair}]"),
                Reading::Channel if form.rows => format!("x{k}[channel + j]"),
                Reading::Channel => format!("x{k}[channel]"),
            };
            let _ = writeln!(text, "    float e{k} = from_{}({from}); (void)e{k};", element.name());
        }
        text
    }

    /// Computes the elements from the place `first` on, one or four, and writes those results that are written whole; `behind` follows the steps of each.
    pub(super) fn group(&self, text: &mut String, form: &Form, behind: &str) {
        let (output, each) = (form.output.name(), if form.quads { 4 } else { 1 });
        let whole = self.results.iter().take(self.whole());
        if form.quads {
            for (k, (element, _)) in form.inputs.iter().enumerate().filter(|(_, i)| i.1 == Reading::Whole) {
                let name = element.name();
                let _ = writeln!(text, "    {name}_quad q{k} = ((const {name}_quad *)x{k})[first / 4];");
            }
            for r in 0..self.whole() {
                let _ = writeln!(text, "    {output}_quad z{r};");
            }
        }
        text.push_str(&Self::places(form, true));
        let _ = writeln!(text, "    UNROLL for (int j = 0; j < {each}; ++j) {{");
        text.push_str("    place i = first + j; (void)i;\n");
        text.push_str(&Self::places(form, false));
        text.push_str(&Self::elements(form));
        text.push_str(&self.steps());
        for (r, step) in whole.enumerate() {
            let to = if form.quads { format!("z{r}.v[j]") } else { format!("y{r}[i]") };
            let _ = writeln!(text, "    {to} = to_{output}(t{step});");
        }
        text.push_str(behind);
        text.push_str("    }\n");
        if form.quads {
            for r in 0..self.whole() {
                let _ = writeln!(text, "    (({output}_quad *)y{r})[first / 4] = z{r};");
            }
        }
    }

    fn writing(&self, text: &mut String, form: &Form) {
        let each = if form.quads { 4 } else { 1 };
        let _ = writeln!(text, "KERNEL expression({}place n) {{", self.parameters(form));
        text.push_str("  place stride = (place)gridDim.x * blockDim.x;\n");
        let _ = writeln!(text, "  for (place at = (place)blockIdx.x * blockDim.x + threadIdx.x; at < n / {each}; at += stride) {{");
        let _ = writeln!(text, "    place first = at * {each};");
        self.group(text, form, "");
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
