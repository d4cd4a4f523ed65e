//! The bundle on disk: what `spgraph rewrite` writes and everything after it reads.

pub mod manifest;
