//! What a rewriting is: its manifest, its options, and the meanings by which everything is found.

mod manifest;
