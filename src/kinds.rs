//! Choices with settings of their own: an enum whose kinds have a trait in common, each a struct in its own file, from one table.

/// Declares the enum `$choice` of the structs that the table lists, each with the name that it has in files and on the command line, and
/// lets it stand for the trait `$contract` that all of them have. `$table` holds every kind with its usual settings.
macro_rules! kinds {
    (
        $(#[$about:meta])* $choice:ident: $contract:ident;
        $(#[$listed:meta])* $table:ident = [$($(#[$doc:meta])* $name:literal => $own:ident,)*];
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "kind")]
        pub enum $choice {
            $($(#[$doc])* #[serde(rename = $name)] $own($own),)*
        }

        $(#[$listed])*
        pub static $table: &[fn() -> $choice] = &[$(|| $choice::$own($own::default()),)*];

        impl $choice {
            /// The names of all kinds, in the order of the table.
            pub const KINDS: &[&str] = &[$($name),*];

            /// The name in files and on the command line.
            pub fn kind(&self) -> &'static str {
                match self {
                    $($choice::$own(_) => $name,)*
                }
            }
        }

        impl std::ops::Deref for $choice {
            type Target = dyn $contract;

            fn deref(&self) -> &Self::Target {
                match self {
                    $($choice::$own(own) => own,)*
                }
            }
        }

        impl std::ops::DerefMut for $choice {
            fn deref_mut(&mut self) -> &mut Self::Target {
                match self {
                    $($choice::$own(own) => own,)*
                }
            }
        }
    };
}

/// Declares a choice between names: what each is called in files and on the command line stands in one place.
macro_rules! named {
    ($(#[$about:meta])* $choice:ident { $($(#[$doc:meta])* $one:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $choice {
            $($(#[$doc])* #[serde(rename = $name)] $one,)*
        }

        impl $choice {
            /// All of them.
            pub const ALL: &[$choice] = &[$($choice::$one),*];

            /// What it is called in files and on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $($choice::$one => $name,)*
                }
            }
        }
    };
}

pub(crate) use {kinds, named};
