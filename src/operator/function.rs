//! Model-local functions: the larger units that rules build.

/// A function of the domain `ai.spgraph`, declared once, beside the rule that builds it. Native kernels and viewers know it by its name.
///
/// A call's inputs, outputs and attributes are its contract with a kernel; the body that comes with each call is its meaning.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Unique, and without a number behind a last `_`: such numbers tell the bodies of one function apart.
    pub name: &'static str,
    /// All operands have one shape, and every element of a result depends on the elements at its place alone.
    pub elementwise: bool,
    /// Reads and gives float32 where a training is in mixed precision: losses.
    pub float32: bool,
}

impl Function {
    /// A function that looks at more than single elements.
    pub const fn new(name: &'static str) -> Function {
        Function { name, elementwise: false, float32: false }
    }

    /// A function on single elements of operands that have one shape.
    pub const fn elementwise(name: &'static str) -> Function {
        Function { name, elementwise: true, float32: false }
    }

    /// A function on float32 in mixed precision, too.
    pub const fn float32(name: &'static str) -> Function {
        Function { float32: true, ..Function::new(name) }
    }

    /// The function's name in a model, without the number that tells bodies apart.
    pub fn base_name(name: &str) -> &str {
        match name.rsplit_once('_') {
            Some((base, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => base,
            _ => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_cut_off() {
        let names = ["ReluGrad", "ReluGrad_2", "Rms_Norm_Grad", "Rms_Norm_Grad_11", "Odd_"];
        assert_eq!(names.map(Function::base_name), ["ReluGrad", "ReluGrad", "Rms_Norm_Grad", "Rms_Norm_Grad", "Odd_"]);
    }
}
