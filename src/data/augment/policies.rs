//! Recipes with a name.

/// A recipe with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The name.
    pub name: &'static str,
    /// What it stands for. A run saves this, not the name.
    pub recipe: &'static str,
    /// For which data it is.
    pub meaning: &'static str,
}

/// All of them, from the weakest to the strongest.
pub const POLICIES: &[Policy] = &[
    Policy { name: "light", recipe: "flip-crop", meaning: "what the paper did: enough where there are many images, or few steps" },
    Policy {
        name: "standard",
        recipe: "resized-crop:0.35+color:0.25",
        meaning: "regions of at least a third of the image and mild colours, for photographs",
    },
    Policy {
        name: "strong",
        recipe: "resized-crop:0.25+trivialaugment+erase:0.25",
        meaning: "for long training on few images; fine details and colours lose their meaning",
    },
];

/// The recipe of that name.
pub(super) fn recipe(name: &str) -> Option<&'static str> {
    POLICIES.iter().find(|p| p.name == name).map(|p| p.recipe)
}
