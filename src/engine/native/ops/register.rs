//! Native operators as ONNX Runtime wants them.

use super::super::compute::{Cores, Isa};
use super::native::{Compute, Native};
use super::ports;
use crate::ir::Domain;
use crate::pass::Port;
use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;
use ort::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// These operators, for a session with that many threads.
pub fn domain(table: &'static [Native], threads: usize, isa: Isa) -> Result<OperatorDomain> {
    let all = table.iter().map(|native| Registered { native, threads, isa });
    all.into_iter().try_fold(OperatorDomain::new(Domain::Native.name())?, |domain, operator| domain.add(operator))
}

/// A row of the table as ONNX Runtime wants it.
struct Registered {
    native: &'static Native,
    threads: usize,
    isa: Isa,
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
        result.unwrap_or_else(|_| Err(Error::new("a native kernel failed; this is a bug of spgraph. Run with --kernels standard")))
    }
}

impl Operator for Registered {
    type Kernel<'attr> = Node;

    fn name(&self) -> &str {
        self.native.kernel.name
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        self.native.kernel.inputs.iter().map(|port| match port {
            Port::Others => OperatorInput::variadic(0).homogenous(Float32),
            port if port.is_optional() => OperatorInput::optional(Float32),
            _ => OperatorInput::required(Float32),
        })
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        self.native
            .kernel
            .outputs
            .iter()
            .map(|p| if p.is_optional() { OperatorOutput::optional(Float32) } else { OperatorOutput::required(Float32) })
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<Node> {
        Ok(Node { compute: (self.native.create)(attributes)?, threads: self.threads, isa: self.isa })
    }
}
