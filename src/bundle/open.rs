//! A bundle on disk, and the state that it starts from.

use super::manifest::{Manifest, State};
use crate::error::{Error, Result};
use crate::ir::{Tensor, TensorType};
use crate::onnx::{self, pb};
use crate::storage::{exchange, listed, machine, presence};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A bundle on disk.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Its folder.
    pub dir: PathBuf,
    /// What `manifest.json` says.
    pub manifest: Manifest,
}

impl Bundle {
    /// The file by which a bundle's folder is recognised.
    pub const MANIFEST: &str = "manifest.json";
    /// No inputs; every state tensor at its start.
    pub const INIT: &str = "init.onnx";
    /// One training step.
    pub const STEP: &str = "step.onnx";
    /// The network by itself, with its state as inputs.
    pub const EVAL: &str = "eval.onnx";
    /// The source model without the tensors that are state.
    pub const TEMPLATE: &str = "template.onnx";
    /// The step's first half: state and batch → gradients.
    pub const GRAD: &str = "grad.onnx";
    /// The step's second half: gradients and state → next state.
    pub const APPLY: &str = "apply.onnx";
    /// Large weights, once for all graphs.
    pub const WEIGHTS: &str = "weights.bin";

    /// Opens the bundle in `dir`, which must hold `manifest.json` and the graphs.
    pub fn open(dir: &Path) -> Result<Bundle> {
        let found = presence::at(dir)?;
        if !found.as_ref().is_some_and(|found| found.is_dir()) {
            let what = if found.is_some() { "is no folder" } else { "does not exist" };
            let old = exchange::left_aside(dir);
            return Err(Error::model(format!("{} {what}; give a bundle that `spgraph rewrite` wrote{old}", dir.display())));
        }
        let manifest = dir.join(Bundle::MANIFEST);
        if !presence::is_file(&manifest)? {
            let way = onnx::in_folder(dir).unwrap_or_else(|| "give a bundle that `spgraph rewrite` wrote".into());
            return Err(Error::model(format!("{} is no bundle, for it holds no manifest.json; {way}", dir.display())));
        }
        let manifest = Manifest::read(&manifest)?;
        for file in [Bundle::INIT, Bundle::STEP, Bundle::EVAL, Bundle::TEMPLATE] {
            let path = dir.join(file);
            if !presence::is_file(&path)? {
                return Err(Error::model(format!("the bundle lacks {}: run `spgraph rewrite` again", path.display())));
            }
        }
        Ok(Bundle { dir: dir.to_path_buf(), manifest })
    }

    /// The files that it has.
    pub fn files(&self) -> Vec<PathBuf> {
        let names =
            [Bundle::MANIFEST, Bundle::INIT, Bundle::STEP, Bundle::EVAL, Bundle::TEMPLATE, Bundle::GRAD, Bundle::APPLY, Bundle::WEIGHTS];
        names.iter().map(|name| self.dir.join(name)).filter(|path| path.is_file()).collect()
    }

    /// The path of [`Bundle::INIT`].
    pub fn init(&self) -> PathBuf {
        self.dir.join(Bundle::INIT)
    }

    /// The path of [`Bundle::STEP`].
    pub fn step(&self) -> PathBuf {
        self.dir.join(Bundle::STEP)
    }

    /// The path of [`Bundle::EVAL`].
    pub fn eval(&self) -> PathBuf {
        self.dir.join(Bundle::EVAL)
    }

    /// The path of [`Bundle::TEMPLATE`].
    pub fn template(&self) -> PathBuf {
        self.dir.join(Bundle::TEMPLATE)
    }

    /// The path of [`Bundle::GRAD`], which split bundles have.
    pub fn grad(&self) -> PathBuf {
        self.dir.join(Bundle::GRAD)
    }

    /// The path of [`Bundle::APPLY`], which split bundles have.
    pub fn apply(&self) -> PathBuf {
        self.dir.join(Bundle::APPLY)
    }

    /// How many classes the network tells apart; `None` where a bundle of format 1 does not declare it.
    pub fn class_count(&self) -> Result<Option<usize>> {
        use pb::{tensor_shape_proto::dimension::Value, type_proto};
        if self.manifest.class_count.is_some() {
            return Ok(self.manifest.class_count);
        }
        let path = self.eval();
        let bytes = listed::read(&path, "cannot read")?;
        let model = onnx::decode(bytes).map_err(|e| e.at(&path, "is damaged"))?;
        let output = model.graph.as_ref().and_then(|g| g.output.first()).and_then(|o| o.r#type.as_ref()).and_then(|t| t.value.as_ref());
        let Some(type_proto::Value::TensorType(t)) = output else { return Ok(None) };
        Ok(t.shape.as_ref().and_then(|s| s.dim.get(1)).and_then(|d| match d.value {
            Some(Value::DimValue(n)) => usize::try_from(n).ok(),
            _ => None,
        }))
    }
}

/// The name under which `init.onnx` holds the start of a state tensor.
pub fn start_name(name: &str) -> String {
    format!("{name}.start")
}

/// The bundle's starting point where the step takes it as inputs, by their names; else nothing.
pub fn start_feeds(bundle: &Bundle) -> Result<Vec<(String, Tensor)>> {
    if bundle.manifest.start_inputs().next().is_none() {
        return Ok(vec![]);
    }
    let start = start_state(bundle)?;
    let named = bundle.manifest.state.iter().zip(start);
    Ok(named.filter_map(|(s, tensor)| Some((s.start.clone()?, tensor))).collect())
}

/// The state at the start, in the manifest's order: the constants that `init.onnx` gives on, and zeros for what it makes.
pub fn start_state(bundle: &Bundle) -> Result<Vec<Tensor>> {
    let bytes = |s: &State| s.shape.iter().fold(s.dtype.size() as u64, |product, &n| product.saturating_mul(n as u64));
    let needed = bundle.manifest.state.iter().map(bytes).fold(0u64, u64::saturating_add);
    if let Some(memory) = machine::memory_limit().filter(|&memory| needed > memory) {
        let (shown, gib) = (bundle.dir.display(), |bytes: u64| bytes as f64 / (1u64 << 30) as f64);
        return Err(Error::model(format!(
            "by its manifest.json the state of {shown} takes {:.1} GiB, and this machine has {:.1}",
            gib(needed),
            gib(memory)
        )));
    }
    let source = onnx::open(bundle.init())?;
    let graph = source.graph()?;
    let stored: HashMap<&str, &pb::TensorProto> = graph.initializer.iter().map(|t| (t.name(), t)).collect();
    let nodes: HashMap<&str, &pb::NodeProto> = graph.node.iter().filter_map(|n| Some((n.output.first()?.as_str(), n))).collect();
    let start = |s: &State| -> Result<Tensor> {
        let expected = TensorType::new(s.dtype, s.shape.iter().copied());
        let node = nodes.get(s.name.as_str());
        let constant = node.filter(|n| n.op_type() == "Identity").and_then(|n| stored.get(n.input.first()?.as_str()));
        let tensor = match (constant, node) {
            (Some(proto), _) => source.tensor(proto)?,
            (None, Some(node)) if node.op_type() == "ConstantOfShape" => Tensor::zeros(s.dtype, &s.shape),
            _ => return Err(Error::model(format!("init.onnx holds no start of `{}`: run `spgraph rewrite` again", s.name))),
        };
        if tensor.ty() != expected {
            return Err(Error::model(format!("init.onnx holds `{}` as {}, the manifest says {expected}", s.name, tensor.ty())));
        }
        Ok(tensor)
    };
    bundle.manifest.state.iter().map(start).collect()
}
