//! What lies on disk: files and folders that appear whole or not at all, tensors with a JSON header, the files that one command writes
//! for another, and the folder of a run.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

pub mod beside;
pub mod channel_attention_file;
pub mod exchange;
pub mod files;
pub mod fisher_file;
pub mod folders;
pub mod inputs;
pub mod listed;
pub mod lock;
pub mod machine;
pub mod notices;
pub mod path_text;
pub mod pending_outputs;
pub mod presence;
pub mod regular;
pub mod run_folder;
pub mod seal;
pub mod sha256;
pub mod temporaries;
pub mod tensor_file;
pub mod toml_file;
pub mod toml_text;
