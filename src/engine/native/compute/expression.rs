//! Expressions over single elements: any number of operations in one pass over memory.
//!
//! A block of elements goes through all operations before the next begins, so that what lies between them never leaves the first-level cache. No
//! operation is contracted with another: the results have the same bits with any instructions.

use super::disjoint_slice::DisjointSlice;
use super::for_isa::for_isa;
use super::functions::{at_least, at_most, erf, exp, exp_below_one, ln, sigmoid, softplus, tanh};
use super::halves::convert;
use super::{Cores, Element, Isa};

/// Elements that go through the operations together.
const BLOCK: usize = 256;
/// Elements of a task.
const TASK: usize = 64 * BLOCK;

/// What one step computes of up to three operands. A truth is 1, anything false 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Same,
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Neg,
    Abs,
    Sqrt,
    Reciprocal,
    Exp,
    Relu,
    LeakyRelu,
    /// The first operand, not below the second, not above the third.
    Clip,
    Sigmoid,
    /// `max(0, min(1, a·b + c))`.
    HardSigmoid,
    HardSwish,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    And,
    Or,
    Not,
    /// The second operand where the first is true, elsewhere the third.
    Where,
    Erf,
    Tanh,
    Softplus,
    Softsign,
    Log,
    Elu,
    /// `c·x` above 0, elsewhere `c·b·(eˣ − 1)`.
    Selu,
    /// The first operand above the second, elsewhere 0.
    Threshold,
    /// `a` nearer to 0 by `b` where it is further away than `c`, elsewhere 0.
    Shrink,
    /// The square where the second operand is 2, elsewhere the cube.
    Power,
    Equal,
}

impl Operation {
    /// All of them; a place in it is the operation's number.
    #[rustfmt::skip]
    pub const ALL: [Operation; 37] = {
        use Operation::*;
        [
            Same, Add, Sub, Mul, Div, Max, Min, Neg, Abs, Sqrt, Reciprocal, Exp, Relu, LeakyRelu, Clip, Sigmoid, HardSigmoid, HardSwish,
            Greater, Less, GreaterOrEqual, LessOrEqual, And, Or, Not, Where, Erf, Tanh, Softplus, Softsign, Log, Elu, Selu, Threshold,
            Shrink, Power, Equal,
        ]
    };
}

/// Where an operand comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A tensor that is read.
    Input(usize),
    /// A number of the expression, by its place among them.
    Constant(usize),
    /// What an earlier step gave.
    Step(usize),
}

/// An operation and what it reads; operands that it does not have are ignored.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What is computed.
    pub operation: Operation,
    /// Of what.
    pub operands: [Source; 3],
}

/// Steps in an order in which each finds its operands.
#[derive(Debug, Clone)]
pub struct Expression {
    constants: Vec<f32>,
    steps: Vec<Step>,
    /// The steps whose results are written.
    outputs: Vec<usize>,
    /// The register of each step's result.
    registers: Vec<usize>,
    /// How many registers there are.
    width: usize,
}

/// A tensor that an expression reads.
#[derive(Debug, Clone, Copy)]
pub enum Operand<'a, E = f32> {
    /// As many elements as are computed.
    Whole(&'a [E]),
    /// One number for all.
    Number(f32),
    /// A number for each of the last axis, for each image or for all.
    Channels(&'a [f32]),
}

impl Expression {
    /// Fails where a step reads what is not there yet, or an output is no step.
    pub fn new(constants: Vec<f32>, steps: Vec<Step>, outputs: Vec<usize>, inputs: usize) -> Result<Expression, String> {
        let early = |at: usize, source: &Source| match *source {
            Source::Input(i) => i >= inputs,
            Source::Step(s) => s >= at,
            Source::Constant(k) => k >= constants.len(),
        };
        if steps.iter().enumerate().any(|(at, step)| step.operands.iter().any(|o| early(at, o))) {
            return Err("a step of an expression reads what is not there".into());
        }
        if outputs.is_empty() || outputs.iter().any(|&o| o >= steps.len()) {
            return Err("an output of an expression is none of its steps".into());
        }
        let mut last: Vec<usize> = (0..steps.len()).collect();
        for (at, step) in steps.iter().enumerate() {
            for source in step.operands {
                if let Source::Step(s) = source {
                    last[s] = at;
                }
            }
        }
        outputs.iter().for_each(|&o| last[o] = steps.len());
        // A register is free again behind the step that reads it last: a step never writes over what it reads.
        let (mut busy, mut registers): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
        for (at, &end) in last.iter().enumerate() {
            let register = busy.iter().position(|&until| until < at).unwrap_or(busy.len());
            busy.resize(busy.len().max(register + 1), 0);
            busy[register] = end;
            registers.push(register);
        }
        Ok(Expression { constants, steps, outputs, registers, width: busy.len() })
    }

    /// How many tensors it writes.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Computes the outputs, images of `size` elements and `channels` the last axis; every output has as many elements as all images.
    pub fn compute<E: Element>(&self, cores: &Cores, (size, channels): (usize, usize), inputs: &[Operand<E>], outputs: Vec<&mut [E]>) {
        let total = outputs.first().map_or(0, |o| o.len());
        let sound = |operand: &Operand<E>| match operand {
            Operand::Whole(x) => x.len() == total,
            Operand::Number(_) => true,
            Operand::Channels(x) => {
                channels > 0 && size.is_multiple_of(channels) && (x.len() == channels || x.len() * size == total * channels)
            }
        };
        assert!(size > 0 && total.is_multiple_of(size) && outputs.len() == self.outputs.len() && outputs.iter().all(|o| o.len() == total));
        assert!(inputs.iter().all(sound));
        let outputs: Vec<DisjointSlice<E>> = outputs.into_iter().map(DisjointSlice::new).collect();
        // A task lies within one image, so that it has one row of channels.
        let parts = size.div_ceil(TASK);
        let isa = cores.isa();
        cores.run(total / size * parts, &|task| {
            let (image, part) = (task / parts, task % parts * TASK);
            let mut bench = Bench::new(self, inputs.len());
            for start in (part..size.min(part + TASK)).step_by(BLOCK) {
                let count = BLOCK.min(size - start);
                bench.load(isa, inputs, Place { image, start, count, channels, at: image * size + start });
                bench.run(isa, self, inputs, image * size + start, count);
                for (&step, output) in self.outputs.iter().zip(&outputs) {
                    // SAFETY: every block of every task is another part of the output.
                    let to = unsafe { output.part(image * size + start, count) };
                    convert(isa, &bench.registers[self.registers[step]][..count], to);
                }
            }
        });
    }
}

/// A block.
struct Place {
    image: usize,
    /// Its first element in the image.
    start: usize,
    count: usize,
    channels: usize,
    /// Its first element in all images.
    at: usize,
}

/// The registers of a task.
struct Bench {
    registers: Vec<Vec<f32>>,
    /// For inputs that are not read where they are.
    spread: Vec<Vec<f32>>,
    /// The constants, one after the other as steps read them.
    constants: Vec<Vec<f32>>,
}

impl Bench {
    fn new(expression: &Expression, inputs: usize) -> Bench {
        let block = || vec![0.0; BLOCK];
        Bench {
            registers: (0..expression.width).map(|_| block()).collect(),
            spread: vec![vec![]; inputs],
            constants: expression.constants.iter().map(|&value| vec![value; BLOCK]).collect(),
        }
    }

    /// Lays out what is shorter than a block, or not float32.
    fn load<E: Element>(&mut self, isa: Isa, inputs: &[Operand<E>], place: Place) {
        for (input, spread) in inputs.iter().zip(&mut self.spread) {
            match *input {
                Operand::Whole(_) if !E::ROUNDS => {}
                Operand::Whole(x) => {
                    spread.resize(BLOCK, 0.0);
                    convert(isa, &x[place.at..][..place.count], &mut spread[..place.count]);
                }
                Operand::Number(value) if spread.is_empty() => *spread = vec![value; BLOCK],
                Operand::Number(_) => {}
                Operand::Channels(rows) => {
                    spread.resize(BLOCK, 0.0);
                    let row = if rows.len() == place.channels { rows } else { &rows[place.image * place.channels..][..place.channels] };
                    let (mut done, mut channel) = (0, place.start % place.channels);
                    while done < place.count {
                        let n = (place.channels - channel).min(place.count - done);
                        spread[done..done + n].copy_from_slice(&row[channel..channel + n]);
                        (done, channel) = (done + n, 0);
                    }
                }
            }
        }
    }

    fn run<E: Element>(&mut self, isa: Isa, expression: &Expression, inputs: &[Operand<E>], at: usize, count: usize) {
        for (number, step) in expression.steps.iter().enumerate() {
            let own = expression.registers[number];
            let mut result = std::mem::take(&mut self.registers[own]);
            let read = |i: usize| -> &[f32] {
                match step.operands[i] {
                    Source::Constant(k) => &self.constants[k][..count],
                    Source::Step(s) => &self.registers[expression.registers[s]][..count],
                    Source::Input(k) => match inputs[k] {
                        Operand::Whole(x) => E::floats(x).map_or_else(|| &self.spread[k][..count], |x| &x[at..at + count]),
                        Operand::Number(_) | Operand::Channels(_) => &self.spread[k][..count],
                    },
                }
            };
            step_of(isa, step.operation, [read(0), read(1), read(2)], &mut result[..count]);
            self.registers[own] = result;
        }
    }
}

for_isa! {
    /// One operation on a block.
    fn step_of<V>(isa, operation: Operation, operands: [&[f32]; 3], to: &mut [f32]) {
        let _ = isa;
        let [a, b, c] = operands;
        macro_rules! each {
            (|$x:ident| $result:expr) => { to.iter_mut().zip(a).for_each(|(to, &$x)| *to = $result) };
            (|$x:ident, $y:ident| $result:expr) => { to.iter_mut().zip(a).zip(b).for_each(|((to, &$x), &$y)| *to = $result) };
            (|$x:ident, $y:ident, $z:ident| $result:expr) => {
                to.iter_mut().zip(a).zip(b).zip(c).for_each(|(((to, &$x), &$y), &$z)| *to = $result)
            };
        }
        match operation {
            Operation::Same => to.copy_from_slice(a),
            Operation::Add => each!(|x, y| x + y),
            Operation::Sub => each!(|x, y| x - y),
            Operation::Mul => each!(|x, y| x * y),
            Operation::Div => each!(|x, y| x / y),
            Operation::Max => each!(|x, y| if x > y || x.is_nan() { x } else { y }),
            Operation::Min => each!(|x, y| if x < y || x.is_nan() { x } else { y }),
            Operation::Neg => each!(|x| -x),
            Operation::Abs => each!(|x| x.abs()),
            Operation::Sqrt => each!(|x| x.sqrt()),
            Operation::Reciprocal => each!(|x| 1.0 / x),
            Operation::Exp => each!(|x| exp(x)),
            Operation::Relu => each!(|x| if x < 0.0 { 0.0 } else { x }),
            Operation::LeakyRelu => each!(|x, y| if x < 0.0 { x * y } else { x }),
            Operation::Clip => each!(|x, y, z| at_most(at_least(x, y), z)),
            Operation::Sigmoid => each!(|x| sigmoid(x)),
            Operation::HardSigmoid => each!(|x, y, z| at_least(at_most(x * y + z, 1.0), 0.0)),
            Operation::HardSwish => each!(|x| x * at_least(at_most(x * (1.0 / 6.0) + 0.5, 1.0), 0.0)),
            Operation::Greater => each!(|x, y| truth(x > y)),
            Operation::Less => each!(|x, y| truth(x < y)),
            Operation::GreaterOrEqual => each!(|x, y| truth(x >= y)),
            Operation::LessOrEqual => each!(|x, y| truth(x <= y)),
            Operation::And => each!(|x, y| x * y),
            Operation::Or => each!(|x, y| if x > y { x } else { y }),
            Operation::Not => each!(|x| 1.0 - x),
            Operation::Where => each!(|x, y, z| if x != 0.0 { y } else { z }),
            Operation::Erf => each!(|x| erf(x)),
            Operation::Tanh => each!(|x| tanh(x)),
            Operation::Softplus => each!(|x| softplus(x)),
            Operation::Softsign => each!(|x| x / (1.0 + x.abs())),
            Operation::Log => each!(|x| ln(x)),
            Operation::Elu => each!(|x, y| if x > 0.0 { x } else { y * exp_below_one(at_most(x, 0.0)) }),
            Operation::Selu => each!(|x, y, z| z * if x > 0.0 { x } else { y * exp_below_one(at_most(x, 0.0)) }),
            Operation::Threshold => each!(|x, y| if x <= y { 0.0 } else { x }),
            Operation::Shrink => each!(|x, y, z| if x > z { x - y } else if x < -z { x + y } else if x.is_nan() { x } else { 0.0 }),
            Operation::Power => each!(|x, y| if y == 2.0 { x * x } else { x * x * x }),
            Operation::Equal => each!(|x, y| truth(x == y)),
        }
    }
}

#[inline(always)]
fn truth(is: bool) -> f32 {
    if is { 1.0 } else { 0.0 }
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
