//! Operators that hand their input on.

use crate::ir::{TensorType, ValueId};
use crate::onnx::pb;
use crate::operator::{Builder, Facts, Grad, Half, Import, Known, Meaning, Operator, Rule, View, fold};

pub struct Identity;

impl Operator for Identity {
    fn op_type(&self) -> &'static str {
        "Identity"
    }

    fn facts(&self) -> Facts {
        Facts { view: true, keeps_classes: true, meaning: Meaning::Identity, half: Half::Exact, ..Facts::ELEMENTWISE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn gradient(&self, _: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        Ok(vec![Some(g.dy()?)])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        fold::reshaped(n, n.ty(0).ok()?)
    }
}

/// Dropout as it is in inference: it hands its input on. Import turns it into `Identity`.
pub struct Dropout;

impl Operator for Dropout {
    fn op_type(&self) -> &'static str {
        "Dropout"
    }

    fn facts(&self) -> Facts {
        Facts { view: true, half: Half::Exact, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        // How much is dropped in training, up to opset 11, and the seed: without meaning in inference.
        let ratio = match cx.source.float("ratio").map_err(|e| e.to_string())? {
            Some(ratio) => Some(ratio as f64),
            None => cx.constant(1).and_then(|t| t.to_f64().ok()?.first().copied()),
        };
        if let Some(ratio) = ratio.filter(|r| !(0.0..1.0).contains(r)) {
            return Err(format!("it drops a share of {ratio}, which must lie between 0 and 1"));
        }
        cx.source.int("seed").map_err(|e| e.to_string())?;
        if cx.has(2) {
            // A network that was exported in training mode is taken, and exported again, as it is in inference.
            cx.constant(2)
                .ok_or("whether it drops at random (input 2) is computed while the model runs; export the network in evaluation mode")?;
        }
        cx.op_type = "Identity".into();
        cx.inputs.truncate(1);
        // The mask is the second output. Whatever reads it is refused, because nothing computes it.
        cx.outputs.truncate(1);
        Ok(())
    }

    /// Without the switch to training and the mask.
    fn inference_form(&self, node: &mut pb::NodeProto) {
        node.input.truncate(2);
        node.output.truncate(1);
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Identity.infer(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        Identity.gradient(b, g)
    }

    fn notes(&self) -> &'static str {
        "in inference form, where it does nothing; the mask cannot be used"
    }
}
