//! Where labelled images come from: parts of a folder, splits, lists, arrays; what is refused, and what is counted.

mod arrays;
mod caches;
mod lists;
mod parts;
mod splits;
mod support;
mod surveys;
