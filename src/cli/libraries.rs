//! The ONNX Runtime libraries that were found, as a table.

use super::flags::with_flags;
use spgraph::engine::Candidate;
use spgraph::report::{Align, Table};

/// A line for each library; `None` for none.
pub fn libraries(candidates: &[Candidate]) -> Option<String> {
    let mut table = Table::new([
        ("", Align::Left),
        ("version", Align::Left),
        ("cuda", Align::Left),
        ("found by", Align::Left),
        ("owner", Align::Left),
        ("sha-256", Align::Left),
        ("path", Align::Left),
        ("why", Align::Left),
    ]);
    for c in candidates {
        let hash = c.sha256.as_deref().and_then(|hash| hash.get(..12)).unwrap_or("-");
        table.row([
            if c.chosen { "*" } else { "" }.to_string(),
            c.version.clone().unwrap_or_else(|| "?".into()),
            if c.has_cuda { "yes" } else { "no" }.into(),
            with_flags(&c.origin.to_string()),
            c.owner.as_ref().map_or_else(|| "?".into(), |owner| owner.to_string()),
            if c.pinned { format!("{hash} (pinned)") } else { hash.to_string() },
            c.path.display().to_string(),
            c.reason.clone(),
        ]);
    }
    (!table.is_empty()).then(|| table.to_string())
}
