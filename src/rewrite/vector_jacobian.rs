//! Vector–Jacobian products of a network: its output, and the gradient of what a caller weighs it with for its images or its parameters.

use super::patterns::{few, matching};
use crate::emit::{self, Dialect};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::grad;
use crate::import::{BatchSize, ImportOptions, Imported, Network, Parameter};
use crate::ir::{Graph, ValueId};
use crate::onnx::{self, pb};
use crate::operator::{Builder, Rule};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a gradient is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrt {
    /// The images.
    Input,
    /// Parameters whose name or alias a pattern matches; without one, all.
    Parameters(Option<String>),
}

impl FromStr for Wrt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Wrt> {
        match (text, text.split_once(':')) {
            ("input", _) => Ok(Wrt::Input),
            ("params", _) => Ok(Wrt::Parameters(None)),
            (_, Some(("params", pattern))) if !pattern.is_empty() => Ok(Wrt::Parameters(Some(pattern.into()))),
            _ => Err(Error::usage(format!("'{text}' is neither `input` nor `params` nor `params:PATTERN`"))),
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
    /// The images' input, with its type and shape.
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
    let network = Network::open(onnx::read(model)?, ImportOptions { batch, input_shape: options.input_shape.clone(), keep_ties: true })?;
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
    let mut found = differentiated(imported, options)?;
    found.read = read;
    Ok(found)
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

fn differentiated(imported: Imported, options: &GradientOptions) -> Result<Gradients> {
    let Imported { mut graph, input, parameters, .. } = imported;
    let output = place(&graph, options.of.output.as_deref())?;
    let ty = graph.ty(output).clone();
    if !ty.dtype.is_float() {
        return Err(Error::option(Field::OF, format!(" `{}` is {ty}, which has no gradient", graph.name_of(output))));
    }
    if options.wrt.contains(&Wrt::Input) && !graph.ty(input).dtype.is_float() {
        return Err(Error::option(Field::WRT, format!(" input: the images are {}, which have no gradient", graph.ty(input))));
    }
    let chosen = chosen(&options.wrt, &parameters)?;
    let images = graph.name_of(input).to_string();
    let output_name = graph.name_of(output).to_string();
    let (seed, cotangent) = match options.of.scalar {
        true => (ones(&mut graph, output).map_err(|why| Error::internal(format!("the seed cannot be built: {why}")))?, None),
        false => {
            let seed = graph.input(&format!("{output_name}.cotangent"), ty);
            (seed, Some(graph.name_of(seed).to_string()))
        }
    };
    let mut targets: Vec<(ValueId, String, String)> = vec![];
    if options.wrt.contains(&Wrt::Input) {
        targets.push((input, images.clone(), images.clone()));
    }
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
    let (input, output) = (described(&images), described(&output_name));
    let model = emit::model(&graph, options.dialect)?;
    Ok(Gradients { model, input, output, cotangent, gradients: ports, independent, read: vec![] })
}

/// The parameters that the patterns match, each once, in the order of use.
fn chosen<'a>(wrt: &[Wrt], parameters: &'a [Parameter]) -> Result<Vec<&'a Parameter>> {
    let mut taken = vec![false; parameters.len()];
    for wrt in wrt {
        match wrt {
            Wrt::Input => {}
            Wrt::Parameters(None) => taken.fill(true),
            Wrt::Parameters(Some(pattern)) => matching(Field::WRT, pattern, parameters.iter())?.into_iter().for_each(|i| taken[i] = true),
        }
    }
    let trained = |p: &Parameter| !p.kind.is_buffer();
    Ok(parameters.iter().zip(taken).filter(|(p, taken)| *taken && trained(p)).map(|(p, _)| p).collect())
}

/// Ones of the shape of `like`.
fn ones(graph: &mut Graph, like: ValueId) -> Rule<ValueId> {
    let mut b = Builder::new(graph);
    b.scope("seed");
    let one = b.number(1.0, like);
    b.expand_like(one, like)
}
