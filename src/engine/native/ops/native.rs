//! What a native operator is: what passes know of it, and what computes it.

use super::super::compute::{Cores, Element};
use super::ports::{Inputs, Outputs};
use crate::pass::Kernel;
use half::bf16;
use ort::Result;
use ort::operator::KernelContext;
use std::marker::PhantomData;

/// One native operator.
pub struct Native {
    /// Its place in a graph.
    pub kernel: Kernel,
    /// What computes a node with these attributes.
    pub create: Create,
    /// The same with images of bfloat16, where there is that.
    pub half: Option<Create>,
}

/// Makes what computes a node with these attributes.
pub type Create = fn(&KernelContext) -> Result<Box<dyn Compute>>;

impl Native {
    /// An operator on images of either kind.
    pub const fn on_images<K: OnImages + 'static>(kernel: Kernel) -> Native {
        Native { kernel, create: create::<K, f32>, half: Some(create::<K, bf16>) }
    }
}

/// A native operator at one node.
pub trait Compute: Send {
    /// Computes the outputs from the inputs, which come in the order of the kernel's ports.
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()>;
}

/// A native operator at one node, whose images are of either kind.
pub trait OnImages: Send + Sized {
    /// For a node with these attributes.
    fn new(attributes: &KernelContext) -> Result<Self>;

    /// [`Compute::compute`] with images of `E`.
    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()>;
}

/// One that has images of `E`.
struct Of<K, E>(K, PhantomData<fn() -> E>);

impl<K: OnImages, E: Element> Compute for Of<K, E> {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        self.0.run::<E>(cores, inputs, outputs)
    }
}

fn create<K: OnImages + 'static, E: Element>(attributes: &KernelContext) -> Result<Box<dyn Compute>> {
    Ok(Box::new(Of::<K, E>(K::new(attributes)?, PhantomData)))
}
