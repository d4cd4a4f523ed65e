//! What a native operator is: what passes know of it, and what computes it.

use super::super::compute::Cores;
use super::ports::{Inputs, Outputs};
use crate::pass::Kernel;
use ort::Result;
use ort::operator::KernelContext;

/// One native operator.
pub struct Native {
    /// Its place in a graph.
    pub kernel: Kernel,
    /// What computes a node with these attributes.
    pub create: fn(&KernelContext) -> Result<Box<dyn Compute>>,
}

/// A native operator at one node.
pub trait Compute: Send {
    /// Computes the outputs from the inputs, which come in the order of the kernel's ports.
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()>;
}
