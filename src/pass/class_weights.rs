//! The data loss of a step by the same one with weights of the classes.

use super::Pass;
use crate::error::{Error, Result};
use crate::ir::{Domain, Graph, Tensor};
use crate::loss::{DataLoss, LOSSES};
use crate::operator::Builder;
use std::sync::Arc;

/// Gives the data loss of a step weights of the classes, as a constant of its body.
pub struct ClassWeights {
    /// By label.
    pub weights: Vec<f64>,
}

impl ClassWeights {
    /// The node of the one loss on labels that the graph has, and which it is.
    pub fn place(graph: &Graph) -> Option<(usize, &'static dyn DataLoss)> {
        let mut found = graph.nodes.iter().enumerate().filter(|(_, n)| n.domain == Domain::Function).filter_map(|(at, node)| {
            let labels = node.input(1).is_some_and(|target| !graph.ty(target).dtype.is_float());
            let loss = LOSSES.iter().filter(|_| labels).find(|loss| loss.functions().first().is_some_and(|f| f.name == node.op_type))?;
            Some((at, *loss))
        });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}

impl Pass for ClassWeights {
    fn name(&self) -> &'static str {
        "class weights"
    }

    fn requires(&self, graph: &Graph) -> Result<(), String> {
        ClassWeights::place(graph).map(|_| ()).ok_or_else(|| "there is no single loss on labels".into())
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let wrong = |why: String| Error::internal(format!("class weights: {why}"));
        let (at, loss) = ClassWeights::place(graph).ok_or_else(|| wrong("there is no single loss on labels".into()))?;
        let node = graph.nodes.get(at).ok_or_else(|| wrong("the loss is lost".into()))?;
        let inputs = node.inputs.iter().copied().collect::<Option<Vec<_>>>().unwrap_or_default();
        let &[scores, target] = &inputs[..] else { return Err(wrong("the loss has other inputs than scores and labels".into())) };
        let smoothing = node.float("label_smoothing", 0.0) as f64;
        let [_, weighted] = loss.functions();
        let tensor = Tensor::from_floats(graph.ty(scores).dtype, &[self.weights.len()], &self.weights);
        let (mut body, arguments) = graph.inner(weighted.name, &[scores, target]);
        let &[z, t] = &arguments[..] else { return Err(wrong("a body has other inputs than its call".into())) };
        let mut b = Builder::new(&mut body);
        let weights = b.constant(tensor);
        let found = loss.weighted(&mut b, [z, t, weights], smoothing).map_err(wrong)?;
        body.outputs = vec![found.value, found.gradient, found.correct];
        if let Some(node) = graph.nodes.get_mut(at) {
            node.op_type = weighted.name.into();
            node.body = Some(Arc::new(body));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, TensorType};
    use crate::pass::apply_verified;

    fn step(loss: &dyn DataLoss, labels: DType) -> Graph {
        let mut graph = Graph::new("step");
        let scores = graph.input("scores", TensorType::new(DType::F32, [4usize, 3]));
        let target = match labels {
            DType::I64 => graph.input("target", TensorType::new(labels, [4usize])),
            _ => graph.input("target", TensorType::new(labels, [4usize, 3])),
        };
        let made = loss.add(&mut Builder::new(&mut graph), scores, target, 0.1).unwrap();
        graph.outputs = vec![made.value, made.gradient];
        graph
    }

    #[test]
    fn the_loss_on_labels_gets_weights_and_everything_else_stays() {
        for loss in LOSSES {
            let mut graph = step(*loss, DType::I64);
            let before = graph.clone();
            apply_verified(&mut graph, &[&ClassWeights { weights: vec![0.5, 1.0, 2.0] }]).unwrap();
            let [plain, weighted] = loss.functions();
            let names = |graph: &Graph| graph.nodes.iter().map(|n| n.op_type.clone()).collect::<Vec<_>>();
            let expected: Vec<_> =
                names(&before).into_iter().map(|n| if n == plain.name { weighted.name.to_string() } else { n }).collect();
            assert_eq!(names(&graph), expected);
            let (at, _) = ClassWeights::place(&before).unwrap();
            let body = graph.nodes[at].body.as_ref().unwrap();
            let held = body.ids().filter_map(|v| body.value(v).constant.as_ref()).any(|t| t.to_f64().is_ok_and(|t| t == [0.5, 1.0, 2.0]));
            assert!(held, "{} holds no weights", loss.kind());
        }
    }

    #[test]
    fn a_step_without_a_single_loss_on_labels_is_refused() {
        let weights = ClassWeights { weights: vec![1.0; 3] };
        let error = apply_verified(&mut step(LOSSES[0], DType::F32), &[&weights]).unwrap_err().to_string();
        assert!(error.contains("there is no single loss on labels"), "{error}");
    }
}
