//! Parameters that are one of a few names.

/// One of a few names, read and set by them.
pub trait Choice {
    /// The name that is set.
    fn name(&self) -> &'static str;

    /// Sets it by name; whether there is one of that name.
    fn set(&mut self, name: &str) -> bool;

    /// All names.
    fn names(&self) -> Vec<&'static str>;
}

/// Declares an enum whose kinds have names.
macro_rules! choices {
    ($(#[$about:meta])* $choice:ident { $($(#[$doc:meta])* $kind:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $choice {
            $($(#[$doc])* $kind,)*
        }

        impl Choice for $choice {
            fn name(&self) -> &'static str {
                match self {
                    $($choice::$kind => $name,)*
                }
            }

            fn set(&mut self, name: &str) -> bool {
                match name {
                    $($name => *self = $choice::$kind,)*
                    _ => return false,
                }
                true
            }

            fn names(&self) -> Vec<&'static str> {
                vec![$($name),*]
            }
        }
    };
}

choices! {
    /// What lies beyond the border of an image.
    Padding {
        /// The border, repeated.
        Border = "border",
        /// The image, mirrored at its border pixels.
        Reflect = "reflect",
        /// Black.
        Black = "black",
        /// The image's own mean colour.
        Mean = "mean",
    }
}

choices! {
    /// What fills the places that a moved image leaves free.
    Background {
        /// Black.
        Black = "black",
        /// The image's own mean colour.
        Mean = "mean",
    }
}

choices! {
    /// How the pixels of a moved image are found.
    Interpolation {
        /// The nearest pixel.
        Nearest = "nearest",
        /// The mean of the four pixels around, weighted by distance.
        Bilinear = "bilinear",
    }
}

choices! {
    /// What an erased rectangle is filled with.
    Erased {
        /// Zeros after normalization: the mean colour, where the network subtracts one.
        Zero = "zero",
        /// The image's own mean of each channel.
        Mean = "mean",
        /// Normal noise of mean 0 and variance 1 for every value.
        Random = "random",
    }
}
