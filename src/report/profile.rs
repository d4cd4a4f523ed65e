//! Where a training step spends its time, by operator and by layer of the source model, from a runtime's record of its nodes.

use crate::engine::Timed;
use crate::error::{Error, Result};
use crate::ops::table;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The times of one training step, means over the steps that were counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Steps that were counted.
    pub steps: usize,
    /// What the times of nodes are of.
    pub timed: Timed,
    /// Milliseconds of a whole step, and of all its nodes; the difference is the runtime's own work between them.
    pub step_ms: f64,
    /// Milliseconds of all nodes of a step.
    pub nodes_ms: f64,
    /// The slowest first, in both.
    pub operators: Vec<OperatorTime>,
    /// By layer, the slowest first.
    pub layers: Vec<LayerTime>,
}

/// All nodes of one operator. A runtime may have fused nodes, and says so in their operator: `FusedConv`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatorTime {
    /// Its name in the runtime.
    pub operator: String,
    /// Milliseconds a step, and the share of all nodes' time.
    pub ms: f64,
    /// Of all nodes' time.
    pub share: f64,
    /// Nodes run a step.
    pub calls: f64,
}

/// All nodes that stem from one layer of the source model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTime {
    /// `layer1.0.conv1`; `loss`, `scalars` and `penalty` are not the source's, and `runtime` has the nodes that the runtime added
    /// and gave no name of ours.
    pub layer: String,
    /// Milliseconds a step in the network itself, its gradients, and the penalty and optimizer.
    pub forward_ms: f64,
    /// Milliseconds a step in its gradients.
    pub backward_ms: f64,
    /// Milliseconds a step in its penalty and update.
    pub update_ms: f64,
    /// All three together.
    pub ms: f64,
    /// Of all nodes' time.
    pub share: f64,
    /// Nodes run a step.
    pub calls: f64,
}

/// One event of a Chrome trace.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    /// Microseconds.
    #[serde(default)]
    ts: f64,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Deserialize, Default)]
struct Arguments {
    op_name: Option<String>,
}

/// Which part of a step a node belongs to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Part {
    Forward,
    Backward,
    Update,
}

impl Profile {
    /// Reads ONNX Runtime's trace of a session, whose times are `timed`; the first `warm_up` of its steps are not counted, and no part of loading is.
    ///
    /// Fails where the text is no such trace, or holds no more steps than `warm_up`.
    pub fn of_trace(trace: &str, timed: Timed, warm_up: usize) -> Result<Profile> {
        let events: Vec<Event> =
            serde_json::from_str(trace).map_err(|e| Error::engine(format!("the runtime's profile is no Chrome trace: {e}")))?;
        let mut runs: Vec<(f64, f64)> =
            events.iter().filter(|e| e.cat == "Session" && e.name == "model_run").map(|e| (e.ts, e.dur)).collect();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let counted = runs.get(warm_up..).unwrap_or_default();
        let Some(&(begin, _)) = counted.first() else {
            return Err(Error::engine(format!("the runtime's profile holds {} steps, and the first {warm_up} do not count", runs.len())));
        };
        let steps = counted.len();
        let per_step = 1.0 / steps as f64;
        let mut operators: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        let mut layers: BTreeMap<String, ([f64; 3], f64)> = BTreeMap::new();
        for event in events.iter().filter(|e| e.cat == "Node" && e.ts >= begin) {
            let (Some(node), Some(operator)) = (event.name.strip_suffix("_kernel_time"), event.args.op_name.as_deref()) else { continue };
            let ms = event.dur / 1e3 * per_step;
            let o = operators.entry(operator).or_default();
            *o = (o.0 + ms, o.1 + per_step);
            let (layer, part) = origin(node);
            let l = layers.entry(layer).or_default();
            if let Some(time) = l.0.get_mut(part as usize) {
                *time += ms;
            }
            l.1 += per_step;
        }
        let nodes_ms: f64 = operators.values().map(|o| o.0).sum();
        let share = |ms: f64| if nodes_ms > 0.0 { ms / nodes_ms } else { 0.0 };
        let mut operators: Vec<OperatorTime> = operators
            .into_iter()
            .map(|(operator, (ms, calls))| OperatorTime { operator: operator.into(), ms, share: share(ms), calls })
            .collect();
        operators.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        let mut layers: Vec<LayerTime> = layers
            .into_iter()
            .map(|(layer, (parts, calls))| {
                let ms = parts.iter().sum();
                let [forward_ms, backward_ms, update_ms] = parts;
                LayerTime { layer, forward_ms, backward_ms, update_ms, ms, share: share(ms), calls }
            })
            .collect();
        layers.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        Ok(Profile { steps, timed, step_ms: counted.iter().map(|r| r.1).sum::<f64>() / 1e3 * per_step, nodes_ms, operators, layers })
    }
}

/// The layer and the part that a node's name tells: `/layer1/layer1.0/conv1/Conv.grad/ConvWeightGrad/Gemm` is the backward part of
/// `layer1.0.conv1`, and so is `layer1.0.conv1.weight.update/SgdUpdate/Mul` its update.
pub(super) fn origin(node: &str) -> (String, Part) {
    for (mark, part) in
        [(".grad/", Part::Backward), (".penalty/", Part::Update), (".update/", Part::Update), (".statistics/", Part::Update)]
    {
        if let Some((source, _)) = node.split_once(mark) {
            return match source.contains('/') {
                true => (module(source), part),
                // A parameter's alias, or a node without a path.
                false => (source.rsplit_once('.').map_or(source, |(parent, _)| parent).to_string(), part),
            };
        }
    }
    for (own, part) in [("loss/", Part::Forward), ("scalars/", Part::Update), ("penalty/", Part::Update)] {
        if node.starts_with(own) {
            return (own.trim_end_matches('/').into(), part);
        }
    }
    if node.contains('/') { (module(node), Part::Forward) } else { ("runtime".into(), Part::Forward) }
}

/// `/layer1/layer1.0/conv1/Conv` → `layer1.0.conv1`: the node's parents, each without what it repeats of the one before, and without
/// the function that it may stand in. A node without parents stands for itself.
fn module(node: &str) -> String {
    let mut parts: Vec<&str> = node.split('/').filter(|p| !p.is_empty()).collect();
    if parts.len() > 1 {
        parts.pop();
    }
    if parts.len() > 1 && parts.last().is_some_and(|p| table::find(p).is_some()) {
        parts.pop();
    }
    let repeats = |part: &str, next: &str| next.strip_prefix(part).is_some_and(|rest| rest.starts_with('.'));
    let following = parts.iter().skip(1).map(Some).chain([None]);
    let own = parts.iter().zip(following).filter(|(part, next)| !next.is_some_and(|next| repeats(part, next)));
    own.map(|(part, _)| *part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_find_their_layer() {
        for (node, layer, part) in [
            ("/conv1/Conv", "conv1", Part::Forward),
            ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1", Part::Forward),
            ("/layer1/layer1.0/conv1/Conv.grad/ConvWeightGrad/Gemm", "layer1.0.conv1", Part::Backward),
            ("/layer1/layer1.0/relu_2/Relu_output_0.grad/Sum", "layer1.0.relu_2", Part::Backward),
            ("/layer4/layer4.0/downsample/downsample.0/Conv", "layer4.0.downsample.0", Part::Forward),
            ("layer1.0.conv1.weight.update/SgdUpdate/Mul", "layer1.0.conv1", Part::Update),
            ("fc.bias.penalty/L2SpPenalty/Sub", "fc", Part::Update),
            ("/bn1/BatchNormalization.statistics/Mul", "bn1", Part::Update),
            ("/layer3/layer3.1/conv2/Conv/Transpose", "layer3.1.conv2", Part::Forward),
            ("/layer1/layer1.0/bn1/BatchNormTrain/ReduceMean", "layer1.0.bn1", Part::Forward),
            ("loss/SoftmaxCrossEntropy/Exp", "loss", Part::Forward),
            ("scalars/Reshape", "scalars", Part::Update),
            ("penalty/Sum", "penalty", Part::Update),
            ("ReorderInput", "runtime", Part::Forward),
        ] {
            let found = origin(node);
            assert_eq!(found.0, layer, "{node}");
            assert!(found.1 == part, "{node}");
        }
    }

    #[test]
    fn steps_are_averaged_without_the_warm_up() {
        let node = |ts: u32, dur: u32, name: &str, op: &str| {
            format!(r#"{{"cat":"Node","ts":{ts},"dur":{dur},"name":"{name}_kernel_time","args":{{"op_name":"{op}"}}}}"#)
        };
        let run = |ts: u32, dur: u32| format!(r#"{{"cat":"Session","ts":{ts},"dur":{dur},"name":"model_run","args":{{}}}}"#);
        let events = [
            r#"{"cat":"Session","ts":0,"dur":900,"name":"session_initialization","args":{}}"#.to_string(),
            node(1001, 9000, "/conv1/Conv", "Conv"),
            run(1000, 9900),
            node(20001, 3000, "/conv1/Conv", "Conv"),
            node(24000, 1000, "/conv1/Conv.grad/ConvInputGrad/Conv", "Conv"),
            run(20000, 6000),
            node(30001, 5000, "/conv1/Conv", "Conv"),
            node(36000, 2000, "conv1.weight.update/SgdUpdate/Mul", "Mul"),
            run(30000, 8000),
        ];
        let profile = Profile::of_trace(&format!("[{}]", events.join(",")), Timed::Work, 1).unwrap();
        assert_eq!((profile.steps, profile.step_ms, profile.nodes_ms), (2, 7.0, 5.5));
        let operators: Vec<_> = profile.operators.iter().map(|o| (o.operator.as_str(), o.ms, o.calls)).collect();
        assert_eq!(operators, [("Conv", 4.5, 1.5), ("Mul", 1.0, 0.5)]);
        let layer = &profile.layers[0];
        assert_eq!((layer.layer.as_str(), layer.forward_ms, layer.backward_ms, layer.update_ms), ("conv1", 4.0, 0.5, 1.0));
        assert_eq!((layer.share, profile.layers.len()), (1.0, 1));
    }

    #[test]
    fn a_trace_without_counted_steps_is_an_error() {
        assert!(Profile::of_trace("[]", Timed::Work, 1).unwrap_err().to_string().contains("0 steps"));
        assert!(Profile::of_trace("{", Timed::Work, 0).unwrap_err().to_string().contains("no Chrome trace"));
    }
}
