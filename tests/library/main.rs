//! The library as a program uses it: the examples, and the builders beside the command line.

mod examples;
mod memory;
