//! Native operators as ONNX Runtime wants them.

use super::super::compute::{Cores, Isa};
use super::native::{Compute, Create, Native};
use super::ports;
use crate::field::Field;
use crate::ir::Domain;
use crate::pass::{Port, half_name};
use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{self, Float32};
use ort::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// These operators, for a session with that many threads.
pub fn domain(table: &'static [Native], threads: usize, isa: Isa) -> Result<OperatorDomain> {
    let floats = table.iter().map(|native| Registered { native, half: None, threads, isa });
    let halves = table.iter().filter_map(|native| {
        let half = Some((half_name(native.kernel.name), native.half?));
        Some(Registered { native, half, threads, isa })
    });
    floats.chain(halves).try_fold(OperatorDomain::new(Domain::Native.name())?, |domain, operator| domain.add(operator))
}

/// A row of the table as ONNX Runtime wants it.
struct Registered {
    native: &'static Native,
    /// With images of bfloat16: its name, and what makes it.
    half: Option<(String, Create)>,
    threads: usize,
    isa: Isa,
}

impl Registered {
    /// What a port's tensor is made of.
    fn element(&self, port: Port) -> TensorElementType {
        match self.half.is_some() && (port.is_image() || port == Port::Alike) {
            true => TensorElementType::Bfloat16,
            false => Float32,
        }
    }
}

struct Node {
    compute: Box<dyn Compute>,
    threads: usize,
    isa: Isa,
}

impl Kernel for Node {
    /// A broken assertion of a kernel fails the run; unwinding into ONNX Runtime would end the process.
    fn compute(&mut self, cx: &ComputeContext) -> Result<()> {
        let cores = Cores::new(cx, self.threads, self.isa);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let (inputs, outputs) = ports::of(cx);
            self.compute.compute(&cores, inputs, outputs)
        }));
        let failed = |_| Err(Error::new(format!("a native kernel failed; this is a bug of spgraph. Run with {} standard", Field::KERNELS)));
        result.unwrap_or_else(failed)
    }
}

impl Operator for Registered {
    type Kernel<'attr> = Node;

    fn name(&self) -> &str {
        self.half.as_ref().map_or(self.native.kernel.name, |(name, _)| name)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let ports = self.native.kernel.inputs;
        // What lies as an image and is none is float32 in any case, and has a place of its own.
        let others = ports.iter().filter(|p| self.half.is_some() && **p == Port::Alike).map(|_| OperatorInput::optional(Float32));
        let placed = ports.iter().map(|port| match port {
            Port::Others => OperatorInput::variadic(0),
            port if port.is_optional() => OperatorInput::optional(self.element(*port)),
            port => OperatorInput::required(self.element(*port)),
        });
        placed.chain(others).collect::<Vec<_>>()
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        let output = |port: &Port| match port.is_optional() {
            true => OperatorOutput::optional(self.element(*port)),
            false => OperatorOutput::required(self.element(*port)),
        };
        self.native.kernel.outputs.iter().map(output).collect::<Vec<_>>()
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<Node> {
        let create = self.half.as_ref().map_or(self.native.create, |(_, create)| *create);
        Ok(Node { compute: create(attributes)?, threads: self.threads, isa: self.isa })
    }
}
