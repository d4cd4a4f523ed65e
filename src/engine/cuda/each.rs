//! Kernels that write one tensor, each of their threads an element and then others. All take the tensors that they read, some numbers, how many elements there
//! are, and where these go.

use super::super::native::product;
use super::device::{Compiled, Parameters, Session};
use super::kept::Kept;
use super::library::{Address, Handle};
use super::ports::{Tensor, output, stream};
use super::source::{self, Element};
use ort::Result;
use ort::operator::ComputeContext;
use std::sync::Arc;

/// Such a kernel at one node, compiled for those of the tensors' sizes that its source has in it.
pub struct Each<S> {
    session: Arc<Session>,
    element: Element,
    /// What the source calls it.
    name: &'static str,
    kept: Kept<(S, bool), Compiled>,
}

/// One call.
pub struct Call<'c, S> {
    /// The sizes that the source has in it.
    pub sizes: S,
    /// What is read.
    pub read: &'c [&'c Tensor],
    /// What the kernel is told besides.
    pub numbers: &'c [usize],
    /// The shape of what is written.
    pub shape: &'c [usize],
}

impl<S: PartialEq + Copy> Each<S> {
    pub fn new(session: Arc<Session>, element: Element, name: &'static str) -> Each<S> {
        Each { session, element, name, kept: Kept::NONE }
    }

    /// Computes the first output. The source speaks of `element`, and is asked for where none was compiled for the sizes.
    pub fn run(&mut self, cx: &ComputeContext, call: Call<S>, source: impl FnOnce() -> String) -> Result<()> {
        let elements = product(call.shape)?;
        let long = call.read.iter().map(|t| t.count()).chain([elements]).any(|count| count > i32::MAX as usize);
        let kernel = self.kept.get((call.sizes, long), || {
            let text = [self.element.alias(), source()].concat();
            self.session.compiled(source::cuda(&text, long), &[self.name])
        })?;
        let (read, y): (Vec<Address>, _) = (call.read.iter().map(|t| t.address).collect(), output(cx, 0, call.shape)?);
        self.session.write(kernel, &read, call.numbers, (y, elements), stream(cx)?)
    }
}

impl Session {
    /// Starts such a kernel, which writes as many elements at an address.
    pub fn write(
        &self,
        kernel: &Compiled,
        read: &[Address],
        numbers: &[usize],
        (to, elements): (Address, usize),
        stream: Handle,
    ) -> Result<()> {
        let mut parameters = Parameters::default();
        read.iter().for_each(|&address| parameters.pointer(address));
        numbers.iter().chain([&elements]).for_each(|&number| parameters.place(number));
        parameters.pointer(to);
        self.over(kernel, elements, &mut parameters, stream)
    }
}
