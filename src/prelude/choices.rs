//! Names that a program should not have to spell.

/// What holds the parameters at their starting point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Penalty {
    /// Nothing.
    None,
    /// Weight decay.
    L2,
    /// `α/2·‖w − w⁰‖²`.
    L2Sp,
    /// The same, weighed by the Fisher information.
    L2SpFisher,
    /// `α·‖w − w⁰‖₁`.
    L1Sp,
    /// `α·Σ_g √|g|·‖w_g − w⁰_g‖` over groups of channels.
    GlSp,
    /// The same, weighed by the Fisher information.
    GlSpFisher,
}

impl Penalty {
    /// All of them.
    pub const ALL: [Penalty; 7] =
        [Penalty::None, Penalty::L2, Penalty::L2Sp, Penalty::L2SpFisher, Penalty::L1Sp, Penalty::GlSp, Penalty::GlSpFisher];

    /// As files and the command line call it.
    pub fn name(self) -> &'static str {
        match self {
            Penalty::None => "none",
            Penalty::L2 => "l2",
            Penalty::L2Sp => "l2-sp",
            Penalty::L2SpFisher => "l2-sp-fisher",
            Penalty::L1Sp => "l1-sp",
            Penalty::GlSp => "gl-sp",
            Penalty::GlSpFisher => "gl-sp-fisher",
        }
    }
}

/// What is minimised on the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// One class for each image.
    CrossEntropy,
    /// Each class by itself: images may have several, or none.
    Bce,
    /// Numbers for each image.
    Mse,
}

impl Loss {
    /// All of them.
    pub const ALL: [Loss; 3] = [Loss::CrossEntropy, Loss::Bce, Loss::Mse];

    /// As files and the command line call it.
    pub fn name(self) -> &'static str {
        match self {
            Loss::CrossEntropy => "cross-entropy",
            Loss::Bce => "bce",
            Loss::Mse => "mse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::LOSSES;
    use crate::penalty::PENALTIES;

    #[test]
    fn every_penalty_and_loss_can_be_chosen() {
        let known: Vec<&str> = std::iter::once("none").chain(PENALTIES.iter().map(|p| p.kind())).collect();
        assert_eq!(Penalty::ALL.map(Penalty::name).to_vec(), known);
        assert_eq!(Loss::ALL.map(Loss::name).to_vec(), LOSSES.iter().map(|l| l.kind()).collect::<Vec<_>>());
    }
}
