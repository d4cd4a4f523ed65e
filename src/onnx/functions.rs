//! Model-local functions of models that others wrote, for runtimes that know none. Those of spgraph's own models are written out in the
//! typed graph.

use super::domain::is_standard;
use super::{pb, schema};
use crate::error::{Error, Result};
use std::collections::{HashMap, HashSet};

/// Functions that call others twice grow without bounds: no network has that many nodes.
const LIMIT: usize = 100_000;

/// (domain, name, overload) of a function, and of the nodes that call it.
type Key = (String, String, String);

fn key(domain: &str, name: &str, overload: &str) -> Key {
    let domain = if is_standard(domain) { "" } else { domain };
    (domain.to_string(), name.to_string(), overload.to_string())
}

/// Replaces every call of a model-local function, nested ones and those in subgraphs too, by its body. The body's own
/// values and nodes get fresh names behind the calling node's name (`<node>/<value>`). The constants of a function are one for all its calls outside
/// subgraphs. Afterwards `functions` is empty.
///
/// Fails on a function that is there twice, calls itself or reads what it does not define, on a call with more inputs or outputs than the
/// function has, and on operators that mean something else in the function's version of ONNX than in the model's.
pub fn inline_functions(model: &mut pb::ModelProto) -> Result<()> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let mut functions: HashMap<Key, pb::FunctionProto> = HashMap::new();
    for function in std::mem::take(&mut model.functions) {
        let key = key(function.domain(), function.name(), function.overload());
        if functions.contains_key(&key) {
            return Err(Error::model(format!("the model-local function `{}` is defined twice: the model is not valid", title(&key))));
        }
        functions.insert(key, function);
    }
    let Some(mut graph) = model.graph.take() else { return Ok(()) };
    let mut taken = HashSet::new();
    collect_names(&graph, &mut taken);
    let mut inliner = Inliner {
        functions: &functions,
        opsets: &mut model.opset_import,
        taken,
        open: vec![],
        written: 0,
        constants: HashMap::new(),
        branches: 0,
    };
    let result = inliner.expand_graph(&mut graph);
    model.graph = Some(graph);
    result
}

struct Inliner<'a> {
    functions: &'a HashMap<Key, pb::FunctionProto>,
    /// The model's operator set imports; a function's further domains are added.
    opsets: &'a mut Vec<pb::OperatorSetIdProto>,
    /// Every value and node name of the model, so that fresh ones are fresh.
    taken: HashSet<String>,
    /// Functions whose bodies are being expanded, outermost first.
    open: Vec<Key>,
    /// How many nodes have been written out so far.
    written: usize,
    /// The constants of functions that are written out, by function and node: every call reads the same one.
    constants: HashMap<(Key, usize), String>,
    /// In how many subgraphs the calls at hand lie. What is defined there is not seen outside.
    branches: usize,
}

impl Inliner<'_> {
    fn expand_graph(&mut self, graph: &mut pb::GraphProto) -> Result<()> {
        let nodes = std::mem::take(&mut graph.node);
        graph.node = self.expand_nodes(nodes)?;
        Ok(())
    }

    fn expand_nodes(&mut self, nodes: Vec<pb::NodeProto>) -> Result<Vec<pb::NodeProto>> {
        let functions = self.functions;
        let mut out = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            for attribute in &mut node.attribute {
                for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                    self.branches = self.branches.saturating_add(1);
                    self.expand_graph(graph)?;
                    self.branches = self.branches.saturating_sub(1);
                }
            }
            let key = key(node.domain(), node.op_type(), node.overload());
            let Some(function) = functions.get(&key) else {
                out.push(node);
                continue;
            };
            if self.open.contains(&key) {
                return Err(Error::model(format!("the model-local function `{}` calls itself, which ONNX does not allow", title(&key))));
            }
            let body = self.instantiate(function, &node)?;
            self.written = self.written.saturating_add(body.len());
            if self.written > LIMIT {
                return Err(Error::model(format!(
                    "the model-local function `{}` and those that it calls come to more than {LIMIT} nodes when they are written out",
                    title(&key)
                )));
            }
            self.open.push(key);
            out.extend(self.expand_nodes(body)?);
            self.open.pop();
        }
        Ok(out)
    }

    /// The body of `function` with the names, inputs, outputs and attributes of the call.
    fn instantiate(&mut self, function: &pb::FunctionProto, call: &pb::NodeProto) -> Result<Vec<pb::NodeProto>> {
        let prefix = match call.name() {
            "" => call.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_else(|| call.op_type().to_string()),
            name => name.to_string(),
        };
        let complain = |why: String| {
            let title = title(&key(function.domain(), function.name(), function.overload()));
            Error::model(format!("the call `{prefix}` of the model-local function `{title}` {why}"))
        };
        if call.input.len() > function.input.len() || call.output.len() > function.output.len() {
            return Err(complain(format!(
                "has {} inputs and {} outputs; the function has {} and {}",
                call.input.len(),
                call.output.len(),
                function.input.len(),
                function.output.len()
            )));
        }
        self.import_opsets(function).map_err(complain)?;

        let mut scope: HashMap<String, String> = HashMap::new();
        for (i, inner) in function.input.iter().enumerate() {
            // An input that the call leaves out is left out of every node that would read it.
            scope.insert(inner.clone(), call.input.get(i).cloned().unwrap_or_default());
        }
        // An output that the body does not compute by a node of its own (an input passed through, or one value given
        // twice) needs a node that carries it over.
        let mut carried = vec![];
        for (i, inner) in function.output.iter().enumerate() {
            let Some(outer) = call.output.get(i).filter(|o| !o.is_empty()) else { continue };
            match scope.get(inner) {
                None => {
                    scope.insert(inner.clone(), outer.clone());
                }
                Some(source) => carried.push((source.clone(), outer.clone())),
            }
        }
        let own = key(function.domain(), function.name(), function.overload());
        let mut there = HashSet::new();
        for (index, name) in function.node.iter().enumerate().filter_map(|(i, n)| Some((i, constant(n)?))) {
            if self.branches > 0 || scope.contains_key(name) {
                continue;
            }
            let known = self.constants.get(&(own.clone(), index)).cloned();
            let shared = known.clone().unwrap_or_else(|| self.fresh(&prefix, name));
            there.extend(known.map(|_| index));
            self.constants.insert((own.clone(), index), shared.clone());
            scope.insert(name.to_string(), shared);
        }
        for output in function.node.iter().flat_map(|n| &n.output).filter(|o| !o.is_empty()) {
            if !scope.contains_key(output) {
                scope.insert(output.clone(), self.fresh(&prefix, output));
            }
        }
        // What the body does not define would be read from the graph around it.
        if let Some(name) = function.node.iter().flat_map(|n| &n.input).find(|n| !n.is_empty() && !scope.contains_key(*n)) {
            return Err(complain(format!("reads `{name}`, which the function does not define")));
        }
        let attributes = Attributes { given: &call.attribute, defaults: &function.attribute_proto };
        let mut body = Vec::with_capacity(function.node.len().saturating_add(carried.len()));
        for (_, node) in function.node.iter().enumerate().filter(|(index, _)| !there.contains(index)) {
            body.push(self.rename_node(node, &prefix, &scope, &attributes));
        }
        for (source, target) in carried {
            let name = self.fresh(&prefix, "Identity");
            body.push(pb::NodeProto {
                input: vec![source],
                output: vec![target],
                name: Some(name),
                op_type: Some("Identity".into()),
                ..Default::default()
            });
        }
        Ok(body)
    }

    fn import_opsets(&mut self, function: &pb::FunctionProto) -> Result<(), String> {
        for import in &function.opset_import {
            let domain = key(import.domain(), "", "").0;
            match self.opsets.iter().find(|o| key(o.domain(), "", "").0 == domain) {
                None => self.opsets.push(import.clone()),
                Some(own) if domain.is_empty() && own.version() != import.version() => {
                    let (theirs, own) = (import.version(), own.version());
                    let nodes = || function.node.iter().filter(|n| key(n.domain(), "", "").0.is_empty());
                    if let Some(node) = nodes().find(|n| !schema::same(n.op_type(), theirs, own)) {
                        return Err(format!(
                            "cannot be inlined: it is written for version {theirs} of ONNX's operators and the model for version {own}, in which \
                             {} is another; convert the model to one version first",
                            node.op_type()
                        ));
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn rename_node(
        &mut self,
        node: &pb::NodeProto,
        prefix: &str,
        scope: &HashMap<String, String>,
        attributes: &Attributes<'_>,
    ) -> pb::NodeProto {
        let base = if node.name().is_empty() { node.op_type() } else { node.name() };
        pb::NodeProto {
            input: node.input.iter().map(|n| lookup(scope, n)).collect(),
            output: node.output.iter().map(|n| lookup(scope, n)).collect(),
            name: Some(self.fresh(prefix, base)),
            op_type: node.op_type.clone(),
            domain: node.domain.clone(),
            overload: node.overload.clone(),
            attribute: node.attribute.iter().filter_map(|a| self.bind_attribute(a, prefix, scope, attributes)).collect(),
            doc_string: node.doc_string.clone(),
            metadata_props: node.metadata_props.clone(),
        }
    }

    /// The attribute with its reference to an attribute of the function resolved; `None` where neither the call nor
    /// the function gives a value, so that the operator's own default holds.
    fn bind_attribute(
        &mut self,
        attribute: &pb::AttributeProto,
        prefix: &str,
        scope: &HashMap<String, String>,
        attributes: &Attributes<'_>,
    ) -> Option<pb::AttributeProto> {
        if !attribute.ref_attr_name().is_empty() {
            // Graphs in a given attribute belong to the caller's scope and keep their names.
            let mut bound = attributes.get(attribute.ref_attr_name())?.clone();
            bound.name = attribute.name.clone();
            return Some(bound);
        }
        let mut bound = attribute.clone();
        for graph in bound.g.iter_mut().chain(&mut bound.graphs) {
            self.rename_graph(graph, prefix, scope, attributes);
        }
        Some(bound)
    }

    fn rename_graph(&mut self, graph: &mut pb::GraphProto, prefix: &str, outer: &HashMap<String, String>, attributes: &Attributes<'_>) {
        let mut scope = outer.clone();
        let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(|t| t.name());
        let local: Vec<String> = graph
            .input
            .iter()
            .map(|v| v.name())
            .chain(graph.initializer.iter().map(|t| t.name()))
            .chain(sparse)
            .chain(graph.node.iter().flat_map(|n| n.output.iter().map(|o| o.as_str())))
            .filter(|n| !n.is_empty())
            .map(str::to_string)
            .collect();
        let mut seen = HashSet::new();
        for name in local {
            if seen.insert(name.clone()) {
                let fresh = self.fresh(prefix, &name);
                scope.insert(name, fresh);
            }
        }
        for value in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
            value.name = Some(lookup(&scope, value.name()));
        }
        for tensor in graph.initializer.iter_mut().chain(graph.sparse_initializer.iter_mut().filter_map(|s| s.values.as_mut())) {
            tensor.name = Some(lookup(&scope, tensor.name()));
        }
        let nodes = std::mem::take(&mut graph.node);
        graph.node = nodes.iter().map(|n| self.rename_node(n, prefix, &scope, attributes)).collect();
    }

    fn fresh(&mut self, prefix: &str, name: &str) -> String {
        let base = format!("{prefix}/{name}");
        let mut fresh = base.clone();
        let mut numbers = 1u64..;
        while !self.taken.insert(fresh.clone()) {
            fresh = format!("{base}_{}", numbers.next().unwrap_or_default());
        }
        fresh
    }
}

struct Attributes<'a> {
    given: &'a [pb::AttributeProto],
    defaults: &'a [pb::AttributeProto],
}

impl Attributes<'_> {
    fn get(&self, name: &str) -> Option<&pb::AttributeProto> {
        self.given.iter().chain(self.defaults).find(|a| a.name() == name)
    }
}

/// The name of a constant that is the same in every call.
fn constant(node: &pb::NodeProto) -> Option<&str> {
    let [output] = &node.output[..] else { return None };
    let same = node.op_type() == "Constant" && is_standard(node.domain()) && node.attribute.iter().all(|a| a.ref_attr_name().is_empty());
    (same && !output.is_empty()).then_some(output)
}

/// The new name of a value; an empty name, and one that no scope knows, stay.
fn lookup(scope: &HashMap<String, String>, name: &str) -> String {
    scope.get(name).cloned().unwrap_or_else(|| name.to_string())
}

fn title(key: &Key) -> String {
    if key.0.is_empty() { key.1.clone() } else { format!("{}.{}", key.0, key.1) }
}

fn collect_names(graph: &pb::GraphProto, names: &mut HashSet<String>) {
    names.extend(graph.input.iter().chain(&graph.output).map(|v| v.name().to_string()));
    names.extend(graph.initializer.iter().map(|t| t.name().to_string()));
    names.extend(graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(|t| t.name().to_string()));
    for node in &graph.node {
        names.insert(node.name().to_string());
        names.extend(node.output.iter().cloned());
        for attribute in &node.attribute {
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                collect_names(graph, names);
            }
        }
    }
}
