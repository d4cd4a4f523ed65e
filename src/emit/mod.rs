//! From a graph to an ONNX model, in one of two dialects, and from such a model back to the graph.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod cuda;
mod functions;
mod nodes;
mod operator_lists;
mod opset;
mod read;
mod runtimes;

pub use cuda::{CUDA_VERSION, can_be_recorded, cuda_fallbacks, cuda_refusal, has_kernel, kernel_types, without_kernel};
pub use nodes::value_info;
pub(crate) use opset::opset_of;
pub use opset::{OPSETS, to_opset};
pub use read::{is_emitted, read};
pub use runtimes::{RUNTIMES, Runtime, find_runtime};

use self::functions::Functions;
use self::nodes::opsets;
use crate::error::Result;
use crate::ir::{Graph, Live, ValueId};
use crate::onnx::{pb, tell_apart, to_proto};
use crate::operator::OPSET;
use crate::pass::{self, Inline, MergeEqual, NewerOperators, Pass, PlainOperators, RestoreOperators};

/// How functions appear in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// As calls of model-local functions in the domain `ai.spgraph`: a viewer shows them by name, a native kernel can take their
    /// place. Needs a runtime that knows functions, as ONNX Runtime does.
    #[default]
    Functions,
    /// Written out in standard operators. An operator that has an alternative stays as it is.
    Inlined,
}

/// What [`Dialect::Inlined`] takes.
const INLINED: &[&dyn Pass] = &[
    // For a runtime that may be any: alternatives are chosen for one.
    &RestoreOperators,
    // Everything else that only functions can say.
    &Inline,
];

/// The IR version of emitted models: the first with model-local functions.
const IR_VERSION: i64 = 8;

/// Writes the part of `graph` that its outputs need. Graph inputs stay even where nothing reads them.
pub fn model(graph: &Graph, dialect: Dialect) -> Result<pb::ModelProto> {
    if NewerOperators::concerns(graph) {
        let mut graph = graph.clone();
        pass::apply(&mut graph, &[&NewerOperators])?;
        return model(&graph, dialect);
    }
    match dialect {
        Dialect::Functions => Ok(as_it_is(graph)),
        Dialect::Inlined => {
            let mut inlined = graph.clone();
            pass::apply(&mut inlined, INLINED)?;
            Ok(as_it_is(&inlined))
        }
    }
}

/// In which words a graph is written.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// How functions appear.
    pub dialect: Dialect,
    /// The opset, one of [`OPSETS`].
    pub opset: i64,
    /// What runs it; any, where it isn't said.
    pub runtime: Option<&'static Runtime>,
}

impl Form {
    /// The dialect in the opset that spgraph has by itself, for any runtime.
    pub fn of(dialect: Dialect) -> Form {
        Form { dialect, opset: OPSET, runtime: None }
    }
}

/// [`model`] in another form. Fails where the opset has no words for a node, and where the runtime lacks an operator.
pub fn model_in(graph: &Graph, form: Form) -> Result<pb::ModelProto> {
    let without: Vec<&'static str> = form.runtime.iter().flat_map(|r| r.without).map(|(op, _)| *op).collect();
    let merged = form.runtime.is_some_and(|r| r.loses_equal);
    let mut written = if without.is_empty() && !merged {
        model(graph, form.dialect)?
    } else {
        let mut graph = graph.clone();
        pass::apply(&mut graph, &[&NewerOperators])?;
        // Inside functions as well.
        pass::apply(&mut graph, INLINED)?;
        pass::apply(&mut graph, &[&PlainOperators(&without), &Inline])?;
        if merged {
            pass::apply(&mut graph, &[&MergeEqual])?;
        }
        as_it_is(&graph)
    };
    if form.opset != OPSET {
        to_opset(&mut written, form.opset)?;
    }
    form.runtime.map_or(Ok(()), |runtime| runtime.check(std::iter::once(&written)))?;
    Ok(written)
}

/// What producers of emitted models are called.
const PRODUCER: &str = "spgraph";

/// The graph with whatever functions and operators it has.
fn as_it_is(graph: &Graph) -> pb::ModelProto {
    let mut functions = Functions::default();
    let Live { initializers, nodes } = graph.live();
    let port = |v: &ValueId| value_info(graph.name_of(*v), graph.ty(*v));
    let mut model = pb::ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: opsets(nodes.iter().map(|n| n.domain)),
        producer_name: Some(PRODUCER.into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(pb::GraphProto {
            name: Some(graph.name.clone()),
            node: nodes.iter().map(|n| functions.node(graph, n)).collect(),
            initializer: initializers.iter().map(|(id, tensor)| to_proto(graph.name_of(*id), tensor)).collect(),
            input: graph.inputs.iter().map(port).collect(),
            output: graph.outputs.iter().map(port).collect(),
            ..Default::default()
        }),
        functions: functions.list,
        ..Default::default()
    };
    model.graph.iter_mut().for_each(tell_apart);
    model
}
