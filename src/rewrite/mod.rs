//! The recipe: from a source model and options to what a training is. Options are checked once (`resolve`), become a plan for each parameter
//! (`decide`), and with it graphs (`backward`, `update`, `graphs`), which together are the product.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod add_head;
mod alike;
mod backward;
mod channel_attention;
mod channels;
mod decide;
mod disguise;
mod features;
mod fisher;
mod freezing;
mod graphs;
mod head;
mod head_map;
mod head_step;
mod loss_scale;
mod lower;
mod needs;
mod outputs;
mod patterns;
mod penalty_term;
mod plan;
mod prediction;
mod preparation;
mod product;
mod random;
mod rates;
mod regularizers;
mod resolve;
mod rivals;
mod scalars;
mod shapes;
mod spelling;
mod stale;
mod start_input;
mod state;
mod strengths;
mod structure;
mod tail;
mod taps;
mod training_graph;
mod transplant;
mod update;
mod vector_jacobian;

pub use features::show_features;
pub use head::{Head, head_behind};
pub use head_step::{head_step, weighted_step};
pub use lower::{Lowered, lower};
pub use outputs::{choose, find_head, softmax_output};
pub use plan::{FoundDropout, LeftOutput, Plan, Planned, Strength};
pub use prediction::Prediction;
pub use preparation::own_preparation;
pub use product::{Product, rewrite};
pub use random::dropouts;
pub use state::StateTensor;
pub use structure::{Block, blocks};
pub use tail::{Tail, are_probabilities};
pub use taps::{Tap, taps};
pub use training_graph::TrainingGraph;
pub use transplant::transplant;
pub use vector_jacobian::{GradientOptions, GradientPort, Gradients, Of, Wrt, gradients};
