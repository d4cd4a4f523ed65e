//! Copies a graph node by node, with a place in the copy for each value: how every pass changes a graph.
//!
//! What nothing is said about stays: names, types, constants, the order of values and nodes.

use super::{Graph, Node, PerValue, Tensor, TensorType, ValueId};
use crate::error::fault;

/// What becomes of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Becomes {
    /// The same node, which reads what stands for its inputs.
    Itself,
    /// These values stand for its outputs, one for each.
    Values(Vec<ValueId>),
    /// No node. Its outputs keep the places that they have; nobody may read one that has none.
    Nothing,
}

/// A copy in the making: which values of `graph` stand for those of the source.
pub struct Rebuild<'s, 't> {
    source: &'s Graph,
    /// What is built. New nodes come here, by a `Builder` under fresh names or by [`Rebuild::node`] under names of the source.
    pub graph: &'t mut Graph,
    place: PerValue<Option<ValueId>>,
    prefix: String,
}

/// The graph in which each node has become what `each` says. Inputs and outputs are those of `source`, then inputs that were added.
pub fn rebuild(source: &Graph, each: impl FnMut(&mut Rebuild, &Node) -> Result<Becomes, String>) -> Result<Graph, String> {
    let mut graph = source.successor();
    let mut copy = Rebuild::new(source, &mut graph);
    copy.run(each)?;
    copy.ports()?;
    Ok(graph)
}

impl<'s, 't> Rebuild<'s, 't> {
    /// Copies `source` into `graph`: its [successor](Graph::successor), or another graph that it becomes a part of.
    pub fn new(source: &'s Graph, graph: &'t mut Graph) -> Self {
        Rebuild { source, graph, place: PerValue::new(source, None), prefix: String::new() }
    }

    /// Puts `prefix` before the names of what is copied from now on.
    pub fn prefix(&mut self, prefix: impl Into<String>) {
        self.prefix = prefix.into();
    }

    /// The graph that is copied.
    pub fn source(&self) -> &'s Graph {
        self.source
    }

    /// What stands for a value of the source.
    pub fn at(&self, value: ValueId) -> Option<ValueId> {
        self.place[value]
    }

    /// What stands for a value of the source, or the reason why nothing does.
    pub fn get(&self, value: ValueId) -> Result<ValueId, String> {
        self.at(value).ok_or_else(|| fault(format!("`{}` is needed and has no place in the new graph", self.source.name_of(value))))
    }

    /// Lets `here` stand for a value of the source. A constant or input that has a place is not carried over.
    pub fn put(&mut self, value: ValueId, here: ValueId) {
        self.place[value] = Some(here);
    }

    /// The node with what stands for its inputs, not yet in the graph.
    pub fn mapped(&self, node: &Node) -> Result<Node, String> {
        let inputs = node.inputs.iter().map(|i| i.map(|v| self.get(v)).transpose()).collect::<Result<Vec<_>, _>>();
        let inputs = inputs.map_err(|why| format!("node `{}`: {why}", node.name))?;
        Ok(Node { name: format!("{}{}", self.prefix, node.name), inputs, outputs: vec![], ..node.clone() })
    }

    /// The names and types of a node's outputs, as they are in the source.
    pub fn outputs(&self, node: &Node) -> Vec<(String, TensorType)> {
        node.outputs.iter().map(|&o| (format!("{}{}", self.prefix, self.source.name_of(o)), self.source.ty(o).clone())).collect()
    }

    /// Copies a node; gives its outputs.
    pub fn copy(&mut self, node: &Node) -> Result<Vec<ValueId>, String> {
        let (copy, outputs) = (self.mapped(node)?, self.outputs(node));
        let made = self.graph.node_as(copy, outputs);
        for (&from, &to) in node.outputs.iter().zip(&made) {
            let known = self.source.value(from);
            let value = self.graph.value_mut(to);
            (value.constant, value.elems, value.layout) = (known.constant.clone(), known.elems.clone(), known.layout);
        }
        Ok(made)
    }

    /// Adds a node under names that values and nodes of the source had.
    pub fn node(&mut self, node: Node, outputs: Vec<(String, TensorType)>) -> Vec<ValueId> {
        self.graph.node_as(node, outputs)
    }

    /// Adds a node with one output, under names that a value and a node of the source had; gives the output.
    pub fn single(&mut self, node: Node, output: (String, TensorType)) -> ValueId {
        self.graph.single_as(node, output)
    }

    /// Adds a constant under the name that `value` has in the source, and lets it stand for that.
    pub fn constant(&mut self, value: ValueId, tensor: Tensor) -> ValueId {
        let here = self.graph.constant_as(&format!("{}{}", self.prefix, self.source.name_of(value)), tensor);
        self.put(value, here);
        here
    }

    /// Gives a value of the new graph the name that `value` has in the source.
    pub fn name_as(&mut self, here: ValueId, value: ValueId) {
        self.graph.rename_as(here, &format!("{}{}", self.prefix, self.source.name_of(value)));
    }

    /// Adds a graph input under the name that `value` has in the source, and lets it stand for that.
    pub fn input(&mut self, value: ValueId, ty: TensorType) -> ValueId {
        let here = self.graph.input_as(&format!("{}{}", self.prefix, self.source.name_of(value)), ty);
        self.graph.value_mut(here).varies = self.source.value(value).varies;
        self.put(value, here);
        here
    }

    /// Carries constants and inputs over, and gives every node to `each`, in order. A value without a node comes where it stood among
    /// the others.
    pub fn run(&mut self, mut each: impl FnMut(&mut Self, &Node) -> Result<Becomes, String>) -> Result<(), String> {
        let source = self.source;
        let mut is_input = PerValue::new(source, false);
        source.inputs.iter().for_each(|&v| is_input[v] = true);
        let mut ids = source.ids().peekable();
        let mut carry = |this: &mut Self, before: Option<ValueId>| {
            while let Some(v) = ids.next_if(|&v| before.is_none_or(|before| v < before)) {
                let value = source.value(v);
                match value.initializer() {
                    _ if this.at(v).is_some() || value.producer.is_some() => {}
                    Some(tensor) => drop(this.constant(v, tensor.clone())),
                    None if is_input[v] => drop(this.input(v, value.ty.clone())),
                    None => {}
                }
            }
        };
        for node in &source.nodes {
            if let Some(&first) = node.outputs.iter().min() {
                carry(self, Some(first));
            }
            let made = match each(self, node)? {
                Becomes::Itself => self.copy(node)?,
                Becomes::Values(made) if made.len() == node.outputs.len() => made,
                Becomes::Values(made) => {
                    let (outputs, values) = (node.outputs.len(), made.len());
                    return Err(fault(format!("node `{}` has {outputs} outputs, and {values} values stand for them", node.name)));
                }
                Becomes::Nothing => continue,
            };
            node.outputs.iter().zip(made).for_each(|(&from, to)| self.put(from, to));
        }
        carry(self, None);
        Ok(())
    }

    /// Makes inputs and outputs of the new graph what stands for those of the source, in its order; inputs that were added come last.
    pub fn ports(&mut self) -> Result<(), String> {
        let mut open = PerValue::new(self.graph, false);
        self.graph.inputs.iter().for_each(|&v| open[v] = true);
        let kept = self.source.inputs.iter().filter_map(|&v| self.at(v));
        let inputs = kept.chain(self.graph.inputs.iter().copied()).filter(|&v| std::mem::take(&mut open[v])).collect();
        self.graph.inputs = inputs;
        self.graph.outputs = self.source.outputs.iter().map(|&v| self.get(v)).collect::<Result<_, _>>()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::DType;

    fn ty() -> TensorType {
        TensorType::scalar(DType::F32)
    }

    fn add(g: &mut Graph, op: &str, inputs: &[ValueId], output: &str) -> ValueId {
        let node = Node::new(format!("node of {output}"), op, inputs.iter().copied().map(Some).collect(), Default::default());
        g.node(node, vec![(output.into(), ty())])[0]
    }

    /// `b = -a`, `c = b + k`, `y = c · p`, with `k` and the input `p` declared on the way.
    fn graph() -> Graph {
        let mut g = Graph::new("g");
        let a = g.input("a", ty());
        let b = add(&mut g, "Neg", &[a], "b");
        let k = g.constant("k", Tensor::from_f32(&[], &[2.0]));
        let c = add(&mut g, "Add", &[b, k], "c");
        let p = g.constant("p", Tensor::from_f32(&[], &[3.0]));
        let y = add(&mut g, "Mul", &[c, p], "y");
        g.constant_to_input(p);
        g.outputs = vec![y];
        g
    }

    /// Nodes as `c=Add(b,k)`.
    fn text(g: &Graph) -> Vec<String> {
        let names = |ids: Vec<ValueId>| ids.iter().map(|&v| g.name_of(v)).collect::<Vec<_>>().join(",");
        g.nodes.iter().map(|n| format!("{}={}({})", names(n.outputs.clone()), n.op_type, names(n.used().collect()))).collect()
    }

    #[test]
    fn a_copy_is_the_same() {
        let source = graph();
        let copy = rebuild(&source, |_, _| Ok(Becomes::Itself)).unwrap();
        copy.verify().unwrap();
        let all = |g: &Graph| format!("{:?} {:?} {:?} {:?}", g.values, g.nodes, g.inputs, g.outputs);
        assert_eq!(all(&copy), all(&source));
    }

    #[test]
    fn nodes_become_others_and_keep_names() {
        let copy = rebuild(&graph(), |r, node| {
            if node.is("Neg") {
                return Ok(Becomes::Values(vec![r.mapped(node)?.inputs[0].unwrap()]));
            }
            if !node.is("Add") {
                return Ok(Becomes::Itself);
            }
            let mut inner = r.mapped(node)?;
            inner.op_type = "Sub".into();
            let new = r.graph.node(inner.clone(), vec![("c".into(), ty())]);
            let last = Node { inputs: vec![Some(new[0])], op_type: "Abs".into(), ..inner };
            Ok(Becomes::Values(r.node(last, r.outputs(node))))
        })
        .unwrap();
        copy.verify().unwrap();
        assert_eq!(text(&copy), ["c_2=Sub(a,k)", "c=Abs(c_2)", "y=Mul(c,p)"]);
        assert_eq!(copy.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["node of c_2", "node of c", "node of y"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let drop =
            |r: &mut Rebuild, node: &Node| Ok(if r.source().nodes[0].name == node.name { Becomes::Nothing } else { Becomes::Itself });
        let error = rebuild(&graph(), drop).unwrap_err();
        assert_eq!(error, "node `node of c`: a fault of spgraph: `b` is needed and has no place in the new graph");
        let error = rebuild(&graph(), |_, _| Ok(Becomes::Values(vec![]))).unwrap_err();
        assert_eq!(error, "a fault of spgraph: node `node of b` has 1 outputs, and 0 values stand for them");
    }

    #[test]
    fn inputs_become_constants_and_parts_join_other_graphs() {
        let source = graph();
        let mut target = source.successor();
        let mut copy = Rebuild::new(&source, &mut target);
        copy.constant(source.find("p").unwrap(), Tensor::from_f32(&[], &[5.0]));
        copy.run(|_, _| Ok(Becomes::Itself)).unwrap();
        copy.ports().unwrap();
        assert_eq!(target.inputs.iter().map(|&v| target.name_of(v)).collect::<Vec<_>>(), ["a"]);

        let here = target.find("a").unwrap();
        let mut second = Rebuild::new(&source, &mut target);
        second.prefix("twice/");
        second.put(source.find("a").unwrap(), here);
        second.put(source.find("p").unwrap(), here);
        second.run(|_, _| Ok(Becomes::Itself)).unwrap();
        let y = second.get(source.outputs[0]).unwrap();
        target.outputs.push(y);
        target.verify().unwrap();
        assert_eq!(text(&target)[3..], ["twice/b=Neg(a)", "twice/c=Add(twice/b,twice/k)", "twice/y=Mul(twice/c,a)"]);
    }
}
