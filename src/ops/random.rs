//! Operators that draw random numbers: networks have them where they were exported in training mode.

use crate::ir::TensorType;
use crate::operator::{Operator, Rule, Status, View};

macro_rules! drawn {
    ($($name:ident)*) => {$(
        /// Draws random numbers.
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn status(&self) -> Status {
                Status::Refused(
                    "it draws random numbers while the model runs, which no run could repeat, and what the network makes of them is no mask that is divided by the share that it leaves, as dropout and stochastic depth are: nobody can say what it is in inference; export the network in evaluation mode (`model.eval()`)",
                )
            }

            fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
                Err("it is refused".into())
            }
        }
    )*};
}

drawn! { Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike }
