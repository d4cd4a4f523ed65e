//! What lies on disk: files and folders that appear whole or not at all, tensors with a JSON header, the files that one command writes
//! for another, and the folder of a run.

pub mod channel_attention_file;
pub mod files;
pub mod fisher_file;
pub mod folders;
pub mod pending_outputs;
pub mod run_folder;
pub mod tensor_file;
