//! Reading and writing ONNX files.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

pub mod attributes;
mod beneath;
pub mod declaration;
mod domain;
pub mod external;
mod functions;
pub mod half;
mod names;
pub mod noise;
mod order;
pub mod part;
#[allow(clippy::all, missing_docs)]
#[rustfmt::skip]
pub mod pb;
pub mod read;
pub mod schema;
mod slot;
mod sniff;
pub mod tensor;
#[allow(unsafe_code)]
mod whole;
mod wire;
#[allow(unsafe_code)]
pub mod write;

pub use attributes::Attributes;
pub use declaration::{declaration, declared_type};
pub use domain::{is_standard, qualified_op, standard_opsets};
pub use external::ExternalData;
pub use functions::inline_functions;
pub use names::tell_apart;
pub use order::put_in_order;
pub use read::{ModelFile, SourceModel, files_of, open, read};
pub use slot::{TensorSlots, tensor_slot};
pub use sniff::{HEAD, foreign, in_folder, in_place_of, is_zip};
pub use tensor::{check_dimensions, external_files, inline_external, inline_inner, refers_to_files, tensor, tensor_with, to_proto};
pub use wire::{DecodeError, decode};
pub use write::{ExternalWriter, INLINE_LIMIT, write, write_checked, write_external, write_hashed, write_to};
