//! Reports for people: aligned text tables, what is inside a model, where a training step spends its time and what takes its memory; and pages to look at.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod device;
mod doctor;
mod drift;
mod evaluation;
mod explanation;
mod fitting;
pub mod html;
mod inspection;
mod kernels;
mod memory;
mod prediction;
mod printable;
mod profile;
mod run;
mod table;

pub use device::{DevicePlan, OffDevice, check_device_memory, check_room, plan_device};
pub use doctor::{Doctor, Finding, Folder};
pub use drift::{Drift, LayerDrift, drift};
pub use evaluation::{answers_csv, confusion_csv, confusion_plot, evaluation_text};
pub use explanation::explanation;
pub use fitting::fitting_batch;
pub use inspection::{
    BundleInspection, FileState, HeadInfo, InputInfo, Inspection, OperatorInfo, ParameterInfo, RunInspection, StepMemory, StepPrecision,
    Verdict, inspect, inspect_bundle, inspect_run,
};
pub use kernels::{KernelPlan, StandardOperator, plan_kernels};
pub use memory::{Category, LiveValue, MemoryPlan, check_memory, plan_memory};
pub use prediction::{features_npz, features_safetensors, predictions_csv, predictions_text};
pub use printable::{on_one_line, printable};
pub use profile::{LayerTime, OperatorTime, Profile};
pub use run::{run_report, write_run_report};
pub use table::{Align, Table};
