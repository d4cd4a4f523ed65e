//! The recipe: from a source model and options to what a training is. Options are checked once (`resolve`), become a plan for each parameter
//! (`decide`), and with it graphs (`backward`, `update`, `graphs`), which together are the product.

mod add_head;
mod backward;
mod channel_attention;
mod decide;
mod disguise;
mod features;
mod fisher;
mod freezing;
mod graphs;
mod head;
mod head_map;
mod head_step;
mod outputs;
mod patterns;
mod penalty_term;
mod plan;
mod prediction;
mod product;
mod rates;
mod regularizers;
mod resolve;
mod scalars;
mod shapes;
mod state;
mod strengths;
mod structure;
mod tail;
mod taps;
mod training_graph;
mod transplant;
mod update;

pub use features::show_features;
pub use head::{Head, head_behind};
pub use head_step::{head_step, weighted_step};
pub use outputs::{choose, find_head, softmax_output};
pub use plan::{Plan, Planned, Strength};
pub use prediction::Prediction;
pub use product::{Product, rewrite};
pub use state::StateTensor;
pub use structure::{Block, blocks};
pub use tail::Tail;
pub use taps::{Tap, taps};
pub use training_graph::TrainingGraph;
pub use transplant::transplant;
