//! The tests of `src/engine/native/compute` in a crate of their own, for `make sanitize` and `make test-neon`.
#![allow(dead_code, unused_imports)]

#[path = "../../../src/engine/native/compute/mod.rs"]
mod compute;

/// Where its macros look for it.
mod engine {
    pub(crate) mod native {
        pub(crate) use crate::compute;
    }
}
