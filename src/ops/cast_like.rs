//! Cast to the element type of another value: imported as a plain Cast.

use super::cast::keep_constant;
use crate::ir::{Attr, TensorType};
use crate::operator::{Facts, Half, Import, Meaning, Operator, Rule, View};

pub struct CastLike;

impl Operator for CastLike {
    fn op_type(&self) -> &'static str {
        "CastLike"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Conversion, half: Half::Never, ..Facts::ELEMENTWISE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let to = cx.ty(1)?.dtype.onnx();
        // Opset 19: about 8-bit floats, which no type here is.
        cx.source.int("saturate").map_err(|e| e.to_string())?;
        cx.op_type = "Cast".into();
        cx.inputs.truncate(1);
        cx.string("round_mode", "up")?;
        cx.set("to", Attr::Int(to as i64));
        keep_constant(cx, to as i64)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![TensorType { dtype: n.ty(1)?.dtype, shape: n.ty(0)?.shape.clone() }])
    }

    fn notes(&self) -> &'static str {
        "imported as Cast"
    }
}
