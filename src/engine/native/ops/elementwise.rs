//! Any expression over single elements, in one pass over memory.

use super::super::compute::{Cores, Element, Expression, Operand, Operation, Source, Step};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs, Tensor};
use crate::ir::DType;
use crate::operator::View;
use crate::pass::{CONSTANT, CONSTANTS, Elements, Extras, Instruction, Kernel, Port, RESULTS, Replaces, STEP, STEPS, spreads_channels};
use ort::operator::KernelContext;
use ort::{Error, Result};

/// Tensors that an expression can read.
const INPUTS: usize = 32;
/// And write.
const OUTPUTS: usize = 4;

/// `(…) → …`, tensors of one shape, channels of such images and numbers; the attributes are the expression. Where images are bfloat16, what is
/// none of them comes as many places later.
pub const ELEMENTWISE: Native = Native::on_images::<Elementwise>(Kernel {
    name: "Elementwise",
    replaces: Replaces::Nothing,
    covers: |_| false,
    inputs: &[Port::Alike; INPUTS],
    outputs: &[Port::Alike; OUTPUTS],
    extras: Extras::NONE,
});

/// What expressions on the processor are over.
pub static ELEMENTS: Elements = Elements {
    kernels: &[(DType::F32, ELEMENTWISE.kernel)],
    ports: (INPUTS, OUTPUTS),
    sums: |_, _, _| false,
    computes: |ty| matches!(ty.rank(), 3 | 4) && matches!(ty.dtype, DType::F32 | DType::Bool) && ty.dims().is_some(),
    reads: &[DType::F32],
    spreads: spreads_channels,
    roundings: &[],
    instructions: INSTRUCTIONS,
};

const fn plain(operator: &'static str, operation: Operation, inputs: &'static [Option<f32>]) -> Instruction {
    Instruction { operator, code: operation as i64, inputs, attributes: &[], passes: false, folds: false, covers: |_| true }
}

const fn folding(operator: &'static str, operation: Operation) -> Instruction {
    Instruction { folds: true, ..plain(operator, operation, &[]) }
}

const ONE: &[Option<f32>] = &[None];
const TWO: &[Option<f32>] = &[None, None];

/// Which operators an expression can compute.
pub static INSTRUCTIONS: &[Instruction] = &[
    Instruction { passes: true, ..plain("Identity", Operation::Same, ONE) },
    Instruction { passes: true, covers: keeps_values, ..plain("Cast", Operation::Same, ONE) },
    plain("Add", Operation::Add, TWO),
    plain("Sub", Operation::Sub, TWO),
    plain("Mul", Operation::Mul, TWO),
    plain("Div", Operation::Div, TWO),
    folding("Sum", Operation::Add),
    folding("Max", Operation::Max),
    folding("Min", Operation::Min),
    plain("Neg", Operation::Neg, ONE),
    plain("Abs", Operation::Abs, ONE),
    plain("Sqrt", Operation::Sqrt, ONE),
    plain("Reciprocal", Operation::Reciprocal, ONE),
    plain("Exp", Operation::Exp, ONE),
    plain("Relu", Operation::Relu, ONE),
    Instruction { attributes: &[("alpha", 0.01)], ..plain("LeakyRelu", Operation::LeakyRelu, ONE) },
    plain("Clip", Operation::Clip, &[None, Some(f32::NEG_INFINITY), Some(f32::INFINITY)]),
    plain("Sigmoid", Operation::Sigmoid, ONE),
    Instruction { attributes: &[("alpha", 0.2), ("beta", 0.5)], ..plain("HardSigmoid", Operation::HardSigmoid, ONE) },
    plain("HardSwish", Operation::HardSwish, ONE),
    plain("Greater", Operation::Greater, TWO),
    plain("Less", Operation::Less, TWO),
    plain("GreaterOrEqual", Operation::GreaterOrEqual, TWO),
    plain("LessOrEqual", Operation::LessOrEqual, TWO),
    plain("And", Operation::And, TWO),
    plain("Or", Operation::Or, TWO),
    plain("Not", Operation::Not, ONE),
    plain("Where", Operation::Where, &[None, None, None]),
    plain("Erf", Operation::Erf, ONE),
    plain("Tanh", Operation::Tanh, ONE),
    plain("Softplus", Operation::Softplus, ONE),
    plain("Softsign", Operation::Softsign, ONE),
    plain("Log", Operation::Log, ONE),
    Instruction { attributes: &[("alpha", 1.0)], ..plain("Elu", Operation::Elu, ONE) },
    Instruction { attributes: &[("alpha", 1.673_263_2), ("gamma", 1.050_701)], ..plain("Selu", Operation::Selu, ONE) },
    Instruction { attributes: &[("alpha", 1.0)], ..plain("ThresholdedRelu", Operation::Threshold, ONE) },
    Instruction { attributes: &[("bias", 0.0), ("lambd", 0.5)], ..plain("Shrink", Operation::Shrink, ONE) },
    plain("PRelu", Operation::LeakyRelu, TWO),
    Instruction { covers: small_power, ..plain("Pow", Operation::Power, TWO) },
    Instruction { covers: compares_floats, ..plain("Equal", Operation::Equal, TWO) },
];

/// Truths are numbers in an expression, so that what casts them to floats does nothing.
fn keeps_values(n: &View) -> bool {
    let to = DType::from_onnx(n.node.int("to", 0) as i32);
    n.ty(0).is_ok_and(|from| matches!((from.dtype, to), (DType::F32 | DType::Bool, Some(DType::F32)) | (DType::Bool, Some(DType::Bool))))
}

/// Squares and cubes, in which exporters write a GELU.
fn small_power(n: &View) -> bool {
    n.constant(1).and_then(|t| t.to_f32().ok()).is_some_and(|e| matches!(e[..], [2.0] | [3.0]))
}

fn compares_floats(n: &View) -> bool {
    n.ty(0).is_ok_and(|ty| ty.dtype == DType::F32)
}

struct Elementwise {
    expression: Expression,
}

fn read(attributes: &KernelContext) -> Result<Expression> {
    let constants = attributes.get::<Vec<f32>>(CONSTANTS).unwrap_or_default();
    let numbers = attributes.get::<Vec<i64>>(STEPS).unwrap_or_default();
    let source = |operand: i64| -> Option<Source> {
        Some(match operand {
            STEP.. => Source::Step(operand.checked_sub(STEP)? as usize),
            CONSTANT.. => Source::Constant(operand.checked_sub(CONSTANT)? as usize),
            0.. => Source::Input(operand as usize),
            _ => return None,
        })
    };
    let step = |numbers: &[i64]| -> Option<Step> {
        let [operation, a, b, c] = numbers[..] else { return None };
        let operation = *Operation::ALL.get(usize::try_from(operation).ok()?)?;
        Some(Step { operation, operands: [source(a)?, source(b)?, source(c)?] })
    };
    let steps: Option<Vec<Step>> = numbers.chunks(4).map(step).collect();
    let results: Option<Vec<usize>> =
        attributes.get::<Vec<i64>>(RESULTS).unwrap_or_default().into_iter().map(|i| usize::try_from(i).ok()).collect();
    match (steps, results) {
        (Some(steps), Some(results)) => Expression::new(constants, steps, results, INPUTS).map_err(Error::new),
        _ => Err(Error::new("an expression has a step that is none")),
    }
}

impl OnImages for Elementwise {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(Elementwise { expression: read(attributes)? })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let mut found: Vec<Found<E>> = vec![];
        match E::ROUNDS {
            false => {
                let all: Vec<_> = inputs.all::<INPUTS>().into_iter().map(|i| i.optional_images()).collect::<Result<_>>()?;
                found.extend(all.into_iter().flatten().map(Found::Image));
            }
            true => {
                let mut places = inputs.all::<{ 2 * INPUTS }>().into_iter();
                let images: Vec<_> = places.by_ref().take(INPUTS).map(|i| i.optional_images()).collect::<Result<_>>()?;
                let others: Vec<_> = places.map(|i| i.optional()).collect::<Result<_>>()?;
                found.extend(
                    images.into_iter().zip(others).filter_map(|(image, other)| image.map(Found::Image).or(other.map(Found::Other))),
                );
            }
        }
        let images = || found.iter().filter_map(|x| if let Found::Image(x) = x { Some(x) } else { None });
        let Some(largest) = images().max_by_key(|x| x.data.len()) else { return Err(Error::new("an expression reads nothing")) };
        let shape = largest.shape.clone();
        let (total, channels) = (largest.data.len(), shape.last().copied().unwrap_or(1));
        let size = total.checked_div(shape.first().copied().unwrap_or(1)).unwrap_or(total);
        let mut results = vec![];
        for output in outputs.all::<OUTPUTS>().into_iter().take(self.expression.outputs()) {
            results.push(output.make_images::<E>(&shape)?);
        }
        if total == 0 {
            return Ok(());
        }
        let unread = || Error::new(format!("an expression over {shape:?} cannot read one of its inputs"));
        let operands: Vec<Operand<E>> = found.iter().map(|x| x.operand(total, size, channels).ok_or_else(unread)).collect::<Result<_>>()?;
        self.expression.compute(cores, (size, channels), &operands, results);
        Ok(())
    }
}

/// An input: as the images are, or float32 in any case.
enum Found<'a, E> {
    Image(Tensor<'a, E>),
    Other(Tensor<'a>),
}

impl<'a, E: Element> Found<'a, E> {
    /// As an expression over `total` elements reads it, images of `size` elements with so many channels.
    fn operand(&self, total: usize, size: usize, channels: usize) -> Option<Operand<'a, E>> {
        let data = match self {
            Found::Image(x) if x.data.len() == total => return Some(Operand::Whole(x.data)),
            Found::Image(x) => E::floats(x.data)?,
            Found::Other(x) => x.data,
        };
        match data {
            [number] => Some(Operand::Number(*number)),
            row if row.len() == channels || row.len().checked_mul(size) == total.checked_mul(channels) => Some(Operand::Channels(row)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::table;

    /// A renamed operator would silently be left to the runtime, and a number stand for another operation.
    #[test]
    fn every_instruction_is_an_operator_that_works_on_elements() {
        for instruction in INSTRUCTIONS {
            assert!(table::find(instruction.operator).is_some(), "{}", instruction.operator);
            let operands = instruction.inputs.len() + instruction.attributes.len();
            assert!(operands <= 3 && (instruction.folds == (operands == 0)), "{}", instruction.operator);
        }
        for (number, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(*operation as usize, number);
        }
    }
}
