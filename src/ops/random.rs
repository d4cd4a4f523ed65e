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
                    "it draws random numbers while the model runs, which no run could repeat; dropping paths and noise belong to training: export the network in evaluation mode (`model.eval()`); a Dropout of PyTorch that is to stay one must not work in place (`inplace=False`)",
                )
            }

            fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
                Err("it is refused".into())
            }
        }
    )*};
}

drawn! { Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike }
