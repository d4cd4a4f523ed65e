//! `spgraph doctor`: what this machine offers, what is in the way, and what to do.

use super::engine_args::EngineArgs;
use super::flags::with_flags;
use super::libraries::libraries;
use super::output::{self, size};
use spgraph::engine::Cuda;
use spgraph::error::Error;
use spgraph::report::Doctor;

/// Examine this machine: processor, memory, libraries, graphics cards, folders; and what to do about what is missing
#[derive(clap::Args)]
#[command(after_help = "Exit code 1 where what the options ask for cannot be done here.")]
pub struct Args {
    /// Everything as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let doctor = Doctor::examine(&args.engine.options());
    match args.json {
        true => output::print_json(&doctor)?,
        false => output::print(&with_flags(&text(&doctor)))?,
    }
    match doctor.findings.iter().find(|f| f.fatal) {
        Some(finding) => Err(Error::engine(finding.what.clone()).into()),
        None => Ok(()),
    }
}

/// The driver, each device and each library, a line each.
fn cuda(cuda: &Cuda) -> String {
    let mut lines = vec![match (&cuda.driver_library, cuda.driver) {
        (Some(path), Some(v)) => format!("driver for CUDA {}.{}, {}", v / 1000, v % 1000 / 10, path.display()),
        (Some(path), None) => path.display().to_string(),
        (None, _) => "no driver".into(),
    }];
    lines.extend(cuda.devices.iter().enumerate().map(|(i, d)| {
        format!(
            "cuda:{i} {}, compute capability {}.{}, {} free of {}",
            d.name,
            d.capability / 10,
            d.capability % 10,
            size(d.free),
            size(d.total)
        )
    }));
    lines.extend(cuda.libraries.iter().chain([&cuda.compiler]).map(|l| match &l.path {
        Some(path) => path.display().to_string(),
        None => format!("{} is missing ({})", l.name, l.package),
    }));
    format!("cuda        {}\n", lines.join("\n            "))
}

fn text(doctor: &Doctor) -> String {
    let machine = &doctor.machine;
    let unknown = || "unknown".to_string();
    let memory = |bytes: Option<u64>| bytes.map_or_else(unknown, size);
    let folder = |f: &spgraph::report::Folder| format!("{} ({})", f.path.display(), if f.writable { "writable" } else { "not writable" });
    let cards = match (&machine.nvidia_driver, machine.nvidia_cards.is_empty()) {
        (None, _) => "no NVIDIA driver is loaded".to_string(),
        (Some(driver), true) => format!("NVIDIA driver {driver}, no card"),
        (Some(driver), false) => format!("NVIDIA driver {driver}: {}", machine.nvidia_cards.join(", ")),
    };
    let findings: String =
        doctor.findings.iter().map(|f| format!("\n{}: {}\n  -> {}\n", if f.fatal { "error" } else { "note" }, f.what, f.advice)).collect();
    let list = libraries(&doctor.libraries).map(|table| format!("\n{table}")).unwrap_or_default();
    let cuda = doctor.cuda.as_ref().map(cuda).unwrap_or_default();
    format!(
        "spgraph     {}\nprocessor   {} ({}, {} threads)\nkernels     {}\nmemory      {} free of {}\ngraphics    {cards}\n{cuda}engine      {}\n\
         cache       {}\ntemporary   {}\n{list}{}",
        doctor.spgraph,
        machine.processor.clone().unwrap_or_else(unknown),
        machine.architecture,
        machine.threads,
        machine.instructions.join(", "),
        memory(machine.memory_available),
        memory(machine.memory),
        doctor.engine.as_deref().unwrap_or("none"),
        doctor.cache.as_ref().map_or_else(|| "none".into(), folder),
        folder(&doctor.temporary),
        if findings.is_empty() { "\nnothing is missing\n".into() } else { findings },
    )
}
