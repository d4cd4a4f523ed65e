//! Vector–Jacobian products of a network: its output, and the gradient of what a caller weighs it with for its images or its parameters.

use super::patterns::{few, matching, only};
use crate::emit::{self, Dialect};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::grad;
use crate::import::{self, AnyInputs, BatchSize, ImportOptions, Imported, Network, Parameter};
use crate::ir::{Graph, ValueId};
use crate::onnx::{self, SourceModel, pb};
use crate::operator::{Builder, Rule};
use crate::pass::{self, FixBatch};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a gradient is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrt {
    /// The images; of a model with several inputs all that are floating-point numbers, or the one of that name.
    Input(Option<String>),
    /// Parameters whose name or alias a pattern matches; without one, all.
    Parameters(Option<String>),
}

impl FromStr for Wrt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Wrt> {
        match (text, text.split_once(':')) {
            ("input", _) => Ok(Wrt::Input(None)),
            (_, Some(("input", name))) if !name.is_empty() => Ok(Wrt::Input(Some(name.into()))),
            ("params", _) => Ok(Wrt::Parameters(None)),
            (_, Some(("params", pattern))) if !pattern.is_empty() => Ok(Wrt::Parameters(Some(pattern.into()))),
            _ => Err(Error::usage(format!("'{text}' is neither `input` nor `input:NAME` nor `params` nor `params:PATTERN`"))),
        }
    }
}

/// What is differentiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Of {
    /// The output's name; `None`: the only one.
    pub output: Option<String>,
    /// The sum of its elements, whose gradient needs nothing more. Else the caller gives a cotangent: a number for each element.
    pub scalar: bool,
}

impl FromStr for Of {
    type Err = Error;

    /// `NAME` or `NAME,scalar`.
    fn from_str(text: &str) -> Result<Of> {
        let (name, scalar) = text.strip_suffix(",scalar").map_or((text, false), |name| (name, true));
        match name {
            "" => Err(Error::usage("it needs the name of an output, alone or with `,scalar` behind it")),
            name => Ok(Of { output: Some(name.into()), scalar }),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct GradientOptions {
    /// What there are gradients for.
    pub wrt: Vec<Wrt>,
    /// What of.
    pub of: Of,
    /// The number of images; `None`: as the model allows, any number where it can.
    pub batch: Option<usize>,
    /// Sizes of the input after the batch, where the model leaves them open.
    pub input_shape: Option<Vec<usize>>,
    /// How functions are written.
    pub dialect: Dialect,
}

/// A gradient's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GradientPort {
    /// The input or parameter that it is for.
    pub of: String,
    /// What a person would call that.
    pub alias: String,
    /// The name of the graph's output.
    pub output: String,
}

/// A graph of gradients with its ports.
#[derive(Debug)]
pub struct Gradients {
    /// Images, and the cotangent where there is one → the output, then the gradients.
    pub model: pb::ModelProto,
    /// The model's inputs, with types and shapes.
    pub input: String,
    /// The differentiated output, with its type and shape.
    pub output: String,
    /// The input with a number for each element of the output.
    pub cotangent: Option<String>,
    /// In the order of the outputs.
    pub gradients: Vec<GradientPort>,
    /// Parameters that were asked for, and on which the output does not depend.
    pub independent: Vec<String>,
    /// The files of the model's weights.
    pub read: Vec<PathBuf>,
}

/// The graph of the gradients that `options` ask for, of the model at `model`, in the form for inference.
pub fn gradients(model: &Path, options: &GradientOptions) -> Result<Gradients> {
    if options.batch == Some(0) {
        return Err(Error::option(Field::BATCH, " 0 makes no sense: give a number of images"));
    }
    let batch = BatchSize::Fixed(options.batch.unwrap_or(1));
    let source = onnx::read(model)?;
    if import::has_other_inputs(&source)? {
        return of_any_inputs(&source, options);
    }
    let network = Network::open(source, ImportOptions { batch, input_shape: options.input_shape.clone(), keep_ties: true })?;
    let freed = network.base().freed_batch.first().cloned();
    let imported = match (options.batch, &freed) {
        (None, None) => network.base().clone(),
        // With the number that it has, the model says nothing but what is in it.
        (None | Some(1), Some(_)) => network.at(BatchSize::Fixed(1))?,
        (Some(n), Some(node)) if n > 1 => {
            let why = format!(
                " {n} is not possible: the model has its batch size written into shapes (node `{node}`). Export it with a dynamic batch"
            );
            return Err(Error::option(Field::BATCH, why));
        }
        _ => network.at(batch)?,
    };
    let read = network.source().external.paths();
    let Imported { graph, parameters, .. } = imported;
    let mut found = differentiated(graph, &parameters, options)?;
    found.read = read;
    Ok(found)
}

/// Of a model whose inputs are not one batch of images.
fn of_any_inputs(source: &SourceModel, options: &GradientOptions) -> Result<Gradients> {
    if options.input_shape.is_some() {
        let why = ": the model has several inputs, or one that is no image. Save it with sizes as numbers";
        return Err(Error::option(Field::INPUT_SHAPE, why));
    }
    let AnyInputs { mut graph, mut parameters } = import::with_any_inputs(source)?;
    if let Some(n) = options.batch {
        if !graph.inputs.iter().any(|&i| graph.ty(i).shape.iter().any(|d| d.known().is_none())) {
            return Err(Error::option(
                Field::BATCH,
                format!(" {n} makes no sense: the sizes of the model's inputs are numbers. Leave it away"),
            ));
        }
        let names: Vec<String> = parameters.iter().map(|p| graph.name_of(p.value).to_string()).collect();
        pass::apply(&mut graph, &[&FixBatch(n)])?;
        for (parameter, name) in parameters.iter_mut().zip(&names) {
            parameter.value = graph.find(name).ok_or_else(|| Error::internal(format!("the parameter `{name}` is lost")))?;
        }
    }
    let mut found = differentiated(graph, &parameters, options)?;
    found.read = source.external.paths();
    Ok(found)
}

/// The inputs that gradients are asked for, in the model's order.
fn asked_inputs(graph: &Graph, wrt: &[Wrt]) -> Result<Vec<ValueId>> {
    let mut asked = vec![];
    for name in wrt.iter().filter_map(|w| if let Wrt::Input(name) = w { Some(name.as_deref()) } else { None }) {
        let floats = |&v: &ValueId| graph.ty(v).dtype.is_float();
        let shown = || graph.inputs.iter().map(|&v| format!("`{}` {}", graph.name_of(v), graph.ty(v))).collect::<Vec<_>>().join(", ");
        let found: Vec<ValueId> = match name {
            None => graph.inputs.iter().copied().filter(floats).collect(),
            Some(name) => graph.inputs.iter().copied().filter(|&v| graph.name_of(v) == name).collect(),
        };
        if found.is_empty() {
            let what =
                name.map_or("no input of the model has floating-point numbers".into(), |name| format!("the model has no input `{name}`"));
            return Err(Error::option(Field::WRT, format!(" input: {what}; it has {}", shown())));
        }
        if let Some(&whole) = found.iter().find(|v| !floats(v)) {
            let why = format!(" input: `{}` is {}, which has no gradient", graph.name_of(whole), graph.ty(whole));
            return Err(Error::option(Field::WRT, why));
        }
        asked.extend(found);
    }
    Ok(graph.inputs.iter().copied().filter(|v| asked.contains(v)).collect())
}

/// The output's place.
fn place(graph: &Graph, name: Option<&str>) -> Result<ValueId> {
    let names: Vec<&str> = graph.outputs.iter().map(|&o| graph.name_of(o)).collect();
    let at = match name {
        Some(name) => names.iter().position(|n| *n == name),
        None if names.len() == 1 => Some(0),
        None => None,
    };
    let output = at.and_then(|at| graph.outputs.get(at).copied());
    output.ok_or_else(|| Error::option(Field::OF, format!(" must name an output of the model, which has {}", names.join(", "))))
}

fn differentiated(mut graph: Graph, parameters: &[Parameter], options: &GradientOptions) -> Result<Gradients> {
    let images: Vec<String> = graph.inputs.iter().map(|&v| graph.name_of(v).to_string()).collect();
    let output = place(&graph, options.of.output.as_deref())?;
    let ty = graph.ty(output).clone();
    if !ty.dtype.is_float() {
        return Err(Error::option(Field::OF, format!(" `{}` is {ty}, which has no gradient", graph.name_of(output))));
    }
    let inputs = asked_inputs(&graph, &options.wrt)?;
    let chosen = chosen(&options.wrt, parameters)?;
    let output_name = graph.name_of(output).to_string();
    let (seed, cotangent) = match options.of.scalar {
        true => (ones(&mut graph, output).map_err(|why| Error::internal(format!("the seed cannot be built: {why}")))?, None),
        false => {
            let seed = graph.input(&format!("{output_name}.cotangent"), ty);
            (seed, Some(graph.name_of(seed).to_string()))
        }
    };
    let mut targets: Vec<(ValueId, String, String)> = vec![];
    targets.extend(inputs.into_iter().map(|v| (v, graph.name_of(v).to_string(), graph.name_of(v).to_string())));
    targets.extend(chosen.iter().map(|p| (p.value, p.name.clone(), p.alias.clone())));
    let wanted: Vec<ValueId> = targets.iter().map(|t| t.0).collect();
    let cotangents = grad::backward(&mut graph, &[(output, seed)], &wanted)?;
    let (mut ports, mut independent) = (vec![], vec![]);
    graph.outputs = vec![output];
    for (value, of, alias) in targets {
        let Some(&gradient) = cotangents.get(&value) else {
            independent.push(alias);
            continue;
        };
        // A gradient can be another's value, or the cotangent itself.
        let mut b = Builder::new(&mut graph);
        let own =
            b.op("Identity", &[gradient], Default::default()).map_err(|why| Error::internal(format!("a gradient has no output: {why}")))?;
        let name = format!("{of}.grad");
        let own = if graph.find(&name) == Some(gradient) && !graph.inputs.contains(&gradient) && !graph.outputs.contains(&gradient) {
            gradient
        } else {
            graph.rename(own, &name);
            own
        };
        graph.outputs.push(own);
        ports.push(GradientPort { of, alias, output: graph.name_of(own).to_string() });
    }
    if ports.is_empty() {
        let asked = few(independent.iter().map(String::as_str));
        return Err(Error::option(Field::WRT, format!(": the output `{output_name}` does not depend on {asked}")));
    }
    graph.name = "gradients".into();
    let described = |name: &str| graph.find(name).map_or(String::new(), |v| format!("{name} {}", graph.ty(v)));
    let input = images.iter().map(|name| described(name)).collect::<Vec<_>>().join(", ");
    let output = described(&output_name);
    let model = emit::model(&graph, options.dialect)?;
    Ok(Gradients { model, input, output, cotangent, gradients: ports, independent, read: vec![] })
}

/// The parameters that the patterns match, each once, in the order of use.
fn chosen<'a>(wrt: &[Wrt], parameters: &'a [Parameter]) -> Result<Vec<&'a Parameter>> {
    let mut taken = vec![false; parameters.len()];
    for wrt in wrt {
        match wrt {
            Wrt::Input(_) => {}
            Wrt::Parameters(None) => taken.fill(true),
            Wrt::Parameters(Some(pattern)) => {
                let found = matching(Field::WRT, pattern, parameters.iter())?;
                taken.iter_mut().zip(found).for_each(|(taken, found)| *taken |= found);
            }
        }
    }
    Ok(only(parameters, &taken).filter(|p| !p.kind.is_buffer()).collect())
}

/// Ones of the shape of `like`.
fn ones(graph: &mut Graph, like: ValueId) -> Rule<ValueId> {
    let mut b = Builder::new(graph);
    b.scope("seed");
    let one = b.number(1.0, like);
    b.expand_like(one, like)
}
