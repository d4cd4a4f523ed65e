//! Another network's classifier in the place of a network's own.

use super::head::{Head, head_behind, store};
use super::outputs::choose;
use super::shapes;
use crate::error::{Error, Result};
use crate::import::{BatchSize, ImportOptions, Imported, Network, import, start_of};
use crate::onnx::SourceModel;

/// Puts the classifier of `donor` into `target` in place of its own; both take images of `input_shape` (sizes after the
/// batch). `output` names the output of `target` whose classifier it is. Gives the donor's number of classes. Fails where the two classifiers don't read the same features.
pub fn transplant(target: &mut SourceModel, donor: &SourceModel, input_shape: &[usize], output: Option<&str>) -> Result<usize> {
    let options = ImportOptions { batch: BatchSize::Fixed(1), input_shape: Some(input_shape.to_vec()), keep_ties: false };
    let (here, there) = (import(target, &options)?, import(donor, &options)?);
    let old = head_behind(&here, &choose(&here, output)?)?;
    let there_too = output.filter(|name| there.graph.outputs.iter().any(|&o| there.graph.name_of(o) == *name));
    let new = head_behind(&there, &choose(&there, there_too)?)?;
    let dims = |imported: &Imported, head: &Head| {
        let ty = imported.graph.ty(head.kernel.value);
        ty.dims().ok_or_else(|| Error::model(format!("the classifier's weight `{}` has no fixed shape: it is {ty}", head.kernel.name)))
    };
    let (mut mine, mut theirs) = (dims(&here, &old)?, dims(&there, &new)?);
    let shown = (mine.clone(), theirs.clone());
    // Everything but the number of classes must agree.
    for (dims, axis) in [(&mut mine, old.axis), (&mut theirs, new.axis)] {
        if let Some(classes) = dims.get_mut(axis) {
            *classes = 0;
        }
    }
    if mine != theirs || old.bias.is_some() != new.bias.is_some() {
        return Err(Error::model(format!(
            "the classifier of {} does not fit: its weight `{}` has the shape {:?}, and the tuned network's `{}` has {:?}. Give the model that the bundle was made from",
            donor.path.display(),
            new.kernel.name,
            shown.1,
            old.kernel.name,
            shown.0
        )));
    }
    for (place, from) in [(Some(&old.kernel), Some(&new.kernel)), (old.bias.as_ref(), new.bias.as_ref())] {
        let (Some(place), Some(from)) = (place, from) else { continue };
        let tensor = start_of(&there.graph, from).ok_or_else(|| Error::model(format!("`{}` is no constant", from.name)))?;
        if !store(target, &place.name, &tensor)? {
            return Err(Error::model(format!("the classifier's `{}` is shared with another layer and cannot be replaced", place.name)));
        }
    }
    shapes::adapt(target, &here, &old.parameters(), old.classes, new.classes);
    let network = Network::open(target.clone(), ImportOptions { batch: BatchSize::Dynamic, ..options })?;
    shapes::declare(target, network.base());
    Ok(new.classes)
}
