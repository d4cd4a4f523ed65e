//! Names that a program should not have to spell.

/// An enum of names, from the list of them.
macro_rules! names {
    ($(#[$about:meta])* $choice:ident: $($(#[$doc:meta])* $own:ident = $name:literal,)*) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $choice {
            $($(#[$doc])* $own,)*
        }

        impl $choice {
            /// All of them.
            pub const ALL: &[$choice] = &[$($choice::$own),*];

            /// As files and the command line call it.
            pub fn name(self) -> &'static str {
                match self {
                    $($choice::$own => $name,)*
                }
            }
        }
    };
}

names! {
    /// What holds the parameters at their starting point.
    Penalty:
    /// Nothing.
    None = "none",
    /// Weight decay.
    L2 = "l2",
    /// `α/2·‖w − w⁰‖²`.
    L2Sp = "l2-sp",
    /// The same, weighed by the Fisher information.
    L2SpFisher = "l2-sp-fisher",
    /// `α·‖w − w⁰‖₁`.
    L1Sp = "l1-sp",
    /// `α·Σ_g √|g|·‖w_g − w⁰_g‖` over groups of channels.
    GlSp = "gl-sp",
    /// The same, weighed by the Fisher information.
    GlSpFisher = "gl-sp-fisher",
}

names! {
    /// What is minimised on the images.
    Loss:
    /// One class for each image.
    CrossEntropy = "cross-entropy",
    /// Each class by itself: images may have several, or none.
    Bce = "bce",
    /// Numbers for each image.
    Mse = "mse",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::LOSSES;
    use crate::penalty::PENALTIES;

    #[test]
    fn every_penalty_and_loss_can_be_chosen() {
        let known: Vec<&str> = std::iter::once("none").chain(PENALTIES.iter().map(|p| p.kind())).collect();
        assert_eq!(Penalty::ALL.iter().map(|p| p.name()).collect::<Vec<_>>(), known);
        assert_eq!(Loss::ALL.iter().map(|l| l.name()).collect::<Vec<_>>(), LOSSES.iter().map(|l| l.kind()).collect::<Vec<_>>());
    }
}
