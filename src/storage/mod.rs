//! What lies on disk: files and folders that appear whole or not at all, tensors with a JSON header, and the files that one command
//! writes for another.

pub mod channel_attention_file;
pub mod files;
pub mod fisher_file;
pub mod pending_outputs;
pub mod tensor_file;
