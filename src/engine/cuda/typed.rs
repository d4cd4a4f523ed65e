//! Operators whose tensors are all of one type, with a form for each.

use super::device::Session;
use super::source::Element;
use crate::ir::DType;
use crate::pass::Kernel as Row;
use ort::Result;
use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use std::marker::PhantomData;
use std::sync::Arc;

/// The forms of an operator, with the type of the tensors of each.
pub type Rows = &'static [(DType, Row)];

/// An operator in all of its forms: as passes know them, and what adds them to those of a session.
pub type Entry = (Rows, fn(OperatorDomain, &Arc<Session>) -> Result<OperatorDomain>);

/// Such an operator at one node.
pub trait Compute: Send + Sized + 'static {
    /// Its forms.
    const ROWS: Rows;

    /// For a node with these attributes, on tensors of that type.
    fn new(session: Arc<Session>, element: Element, attributes: &KernelContext) -> Result<Self>;

    /// Computes the outputs from the inputs, which come in the order of the row's ports.
    fn run(&mut self, cx: &ComputeContext) -> Result<()>;
}

/// One form of an operator, for a session.
pub struct Typed<C> {
    session: Arc<Session>,
    row: &'static Row,
    element: Element,
    computes: PhantomData<fn() -> C>,
}

/// The operator that `C` computes.
pub const fn entry<C: Compute>() -> Entry {
    (C::ROWS, all::<C>)
}

fn all<C: Compute>(domain: OperatorDomain, session: &Arc<Session>) -> Result<OperatorDomain> {
    let form = |(ty, row): &'static (DType, Row)| {
        Some(Typed::<C> { session: Arc::clone(session), row, element: Element::of(*ty)?, computes: PhantomData })
    };
    C::ROWS.iter().filter_map(form).try_fold(domain, OperatorDomain::add)
}

/// At one node.
pub struct Node<C>(C);

impl<C: Compute> Kernel for Node<C> {
    fn compute(&mut self, cx: &ComputeContext) -> Result<()> {
        self.0.run(cx)
    }
}

impl<C: Compute> Operator for Typed<C> {
    type Kernel<'attr> = Node<C>;

    fn name(&self) -> &str {
        self.row.name
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(super::PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        self.row.inputs.iter().map(|_| OperatorInput::required(self.element.ort()))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        self.row.outputs.iter().map(|_| OperatorOutput::required(self.element.ort()))
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<Node<C>> {
        C::new(Arc::clone(&self.session), self.element, attributes).map(Node)
    }
}
