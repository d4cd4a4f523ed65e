//! The library's one error type. Every message says what went wrong, where, why, and what to do about it.

use crate::field::Field;
use crate::nearest::beside;
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// A result whose error is the library's own, unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One node that cannot be differentiated, read or emitted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// Name of the node, or of its first output where it has none.
    pub node: String,
    /// Operator, with its domain unless it is ONNX's own: `Conv`, `com.microsoft.FusedConv`.
    pub op: String,
    /// Why, and where one is known what to do about it.
    pub reason: String,
}

/// Begins the reason of a rule that has failed by a fault of spgraph's own, whatever the model.
const FAULT: &str = "a fault of spgraph: ";

/// The reason of a rule, which gives texts, where only a fault of spgraph's own can be the cause; [`Refusal::of`] tells it from what a model may do.
pub(crate) fn fault(reason: impl fmt::Display) -> String {
    format!("{FAULT}{reason}")
}

impl Refusal {
    /// Of a node that a rule cannot handle. Fails with an [`Error::Internal`] where the rule has failed by a [`fault`].
    pub(crate) fn of(node: &str, op: &str, reason: String) -> Result<Refusal> {
        match reason.contains(FAULT) {
            true => Err(Error::internal(format!("{op} (node `{node}`): {reason}"))),
            false => Ok(Refusal { node: node.into(), op: op.into(), reason }),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (node `{}`): {}", self.op, self.node, self.reason)
    }
}

/// What went wrong, by kind. The message is complete: who shows it adds nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that makes no sense; the command line's exit code 2.
    #[error("{0}")]
    Usage(String),
    /// An option, or what it asks for, makes no sense; exit code 2 as well.
    #[error("{field}{why}")]
    Option {
        /// The option.
        field: Field,
        /// What is wrong with it and what to do: all of the message that follows the option's name, the space included.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{what} {}: {cause}{hint}", path.display())]
    Io {
        /// What was tried, as in "cannot read".
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Not called `source`: the message holds it already, and who prints the chain would show it twice.
        cause: std::io::Error,
        /// What to do about it, as a sentence that goes behind the reason; empty where nothing is known.
        hint: Cow<'static, str>,
    },
    /// The file is not a model that can be used.
    #[error("{0}")]
    Model(String),
    /// A tensor holds something else than was asked for.
    #[error("{0}")]
    Tensor(#[from] crate::ir::TensorError),
    /// Nodes that spgraph refuses, all of them at once.
    #[error("{}", list(.0))]
    Unsupported(Vec<Refusal>),
    /// Training or evaluation data that cannot be used.
    #[error("{0}")]
    Data(String),
    /// A runtime is missing, refused a graph, or failed while running it.
    #[error("{0}")]
    Engine(String),
    /// Training went wrong, such as a loss that is no number.
    #[error("{0}")]
    Training(String),
    /// What spgraph made itself does not hold together.
    #[error("{0}. This is a fault of spgraph itself: please report it, with the model or with what made it")]
    Internal(String),
    /// The user stopped the work (Ctrl-C).
    #[error("{0}")]
    Interrupted(String),
}

/// Nodes that are refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalGroup {
    /// Their operator.
    pub op: String,
    /// Why; of the first of them, where the reasons name different values.
    pub reason: String,
    /// Their names, in the order of the graph.
    pub nodes: Vec<String>,
    /// Whether the reasons differ in the names that they mention.
    pub alike_only: bool,
}

impl fmt::Display for RefusalGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let names: Vec<String> = self.nodes.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
        match self.nodes.len() {
            1 => write!(f, "{} (node {}): {}", self.op, names.join(""), self.reason),
            n => {
                let more = if n > SHOWN { ", …" } else { "" };
                let alike = if self.alike_only { " (the first; the others alike)" } else { "" };
                write!(f, "{} ({n} nodes: {}{more}): {}{alike}", self.op, names.join(", "), self.reason)
            }
        }
    }
}

/// Refusals of one operator and reason together, in the order of their first nodes.
pub fn grouped(refusals: &[Refusal]) -> Vec<RefusalGroup> {
    // What differs between nodes is quoted.
    let outline = |reason: &str| reason.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let mut groups: Vec<(String, RefusalGroup)> = vec![];
    for r in refusals {
        let key = outline(&r.reason);
        match groups.iter_mut().find(|(k, g)| *k == key && g.op == r.op) {
            Some((_, group)) => {
                group.alike_only |= group.reason != r.reason;
                group.nodes.push(r.node.clone());
            }
            None => {
                let group = RefusalGroup { op: r.op.clone(), reason: r.reason.clone(), nodes: vec![r.node.clone()], alike_only: false };
                groups.push((key, group));
            }
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn list(refusals: &[Refusal]) -> String {
    let mut text =
        format!("this model has {} node{} that spgraph cannot train through:", refusals.len(), if refusals.len() == 1 { "" } else { "s" });
    for group in grouped(refusals) {
        text.push_str(&format!("\n  {group}"));
    }
    text.push_str("\nSee docs/operators.md for what is supported; export the network again without these, or fold them away first.");
    text
}

impl Error {
    /// For `map_err`: names the file and, where the operating system's reason suggests one, the way out.
    pub fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        use std::io::ErrorKind;
        // Nobody asked for the temporary name under which a file is written.
        let path = crate::storage::pending_outputs::final_name(path.as_ref());
        move |cause| {
            let hint = match cause.kind() {
                ErrorKind::StorageFull => ". The disk is full: free some space and run the command again",
                ErrorKind::QuotaExceeded => ". The disk quota is used up: free some space and run the command again",
                ErrorKind::FileTooLarge => ". The file would exceed a limit of the file system or of the shell (`ulimit -f`)",
                ErrorKind::ReadOnlyFilesystem => ". Choose a place that can be written to",
                ErrorKind::NotFound => {
                    let hint = format!(". Check the path{}", beside(&path)).into();
                    return Error::Io { what, path, cause, hint };
                }
                ErrorKind::PermissionDenied => ". Check the permissions",
                _ => "",
            };
            Error::Io { what, path, cause, hint: hint.into() }
        }
    }

    /// Where a disk or its quota ran full: with `way` in the place of what to do for any command, as a sentence without a stop that begins small.
    pub(crate) fn on_full_disk(self, way: impl FnOnce() -> String) -> Error {
        use std::io::ErrorKind;
        match self {
            Error::Io { what, path, cause, .. } if matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                let full = if cause.kind() == ErrorKind::StorageFull { "disk is full" } else { "disk quota is used up" };
                let hint = format!(". The {full}: {}", way());
                Error::Io { what, path, cause, hint: hint.into() }
            }
            other => other,
        }
    }

    /// An [`Error::Model`].
    pub fn model(message: impl Into<String>) -> Self {
        Error::Model(message.into())
    }

    /// An [`Error::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into())
    }

    /// `why` goes on behind the field's name: ` 0 makes no sense`, `: …`.
    pub fn option(field: Field, why: impl Into<String>) -> Self {
        Error::Option { field, why: why.into() }
    }

    /// An [`Error::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Error::Data(message.into())
    }

    /// An [`Error::Engine`].
    pub fn engine(message: impl Into<String>) -> Self {
        Error::Engine(message.into())
    }

    /// An [`Error::Training`].
    pub fn training(message: impl Into<String>) -> Self {
        Error::Training(message.into())
    }

    /// For `map_err` where only a fault of spgraph's own can be the cause.
    pub fn internal(message: impl Into<String>) -> Self {
        Error::Internal(message.into().replace(FAULT, ""))
    }

    /// The process exit code: 2 for a request that makes no sense, 130 after Ctrl-C (as shells have it), 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Option { .. } => 2,
            Error::Interrupted(_) => 130,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_own_fault_is_no_refusal() {
        let refused = Refusal::of("n", "Conv", "its weight is an input".into()).unwrap();
        assert_eq!(refused.to_string(), "Conv (node `n`): its weight is an input");
        let error = Refusal::of("n", "Conv", format!("body: {}", fault("a formula has lost an operand"))).unwrap_err();
        assert!(matches!(error, Error::Internal(_)));
        assert!(
            error.to_string().starts_with("Conv (node `n`): body: a formula has lost an operand. This is a fault of spgraph itself"),
            "{error}"
        );
    }

    #[test]
    fn equal_refusals_are_one_paragraph() {
        let refusal = |node: String, op: &str, reason: &str| Refusal { node, op: op.into(), reason: reason.into() };
        let mut list: Vec<Refusal> = (0..41).map(|i| refusal(format!("q{i}"), "QLinearConv", "it is quantized")).collect();
        list.insert(1, refusal("if".into(), "If", "sub-graphs cannot be differentiated"));
        list.push(refusal("a".into(), "Conv", "its weight `x` is an input"));
        list.push(refusal("b".into(), "Conv", "its weight `y` is an input"));
        let text = Error::Unsupported(list).to_string();
        assert!(text.starts_with("this model has 44 nodes"), "{text}");
        let lines: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("  ")).collect();
        assert_eq!(
            lines,
            [
                "QLinearConv (41 nodes: `q0`, `q1`, `q2`, …): it is quantized",
                "If (node `if`): sub-graphs cannot be differentiated",
                "Conv (2 nodes: `a`, `b`): its weight `x` is an input (the first; the others alike)",
            ]
        );
    }
}
