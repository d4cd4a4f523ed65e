//! The files of src/ as modules, and which module reads which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::Visit;

/// A module's path from the crate's root: `["rewrite", "plan"]`.
pub type Module = Vec<String>;

/// One file of src/.
pub struct Source {
    pub file: PathBuf,
    pub module: Module,
    /// Paths that its code names, from the crate's root; its own tests are left out, they may use what they like.
    named: Vec<Module>,
    /// What it gives on under its own name: `pub use child::Name` and `pub use child::*`.
    reexports: Vec<(String, Module)>,
}

/// Everything under src/, by module.
pub struct Sources(pub BTreeMap<Module, Source>);

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every file of src/ with its text, but generated code.
pub fn code_files() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    walk(&root, &mut files);
    let inside = |file: PathBuf| (file.strip_prefix(&root).unwrap().to_path_buf(), std::fs::read_to_string(&file).unwrap());
    files.into_iter().map(inside).filter(|(file, _)| !file.ends_with("onnx/pb.rs")).collect()
}

impl Sources {
    pub fn read() -> Sources {
        let mut all = BTreeMap::new();
        for (inside, text) in code_files() {
            let mut module: Module = inside.with_extension("").components().map(|c| c.as_os_str().to_str().unwrap().to_string()).collect();
            if module.last().is_some_and(|m| m == "mod") {
                module.pop();
            }
            if module == ["lib"] {
                module.clear();
            }
            let code = syn::parse_file(&text).unwrap();
            let mut reader = Reader { module: module.clone(), named: vec![], reexports: vec![] };
            reader.visit_file(&code);
            let Reader { named, reexports, .. } = reader;
            all.insert(module.clone(), Source { file: inside, module, named, reexports });
        }
        // Files that only tests include have nothing to say here.
        all.retain(|module, _| module.last().is_none_or(|m| m != "tests" && !m.ends_with("_tests")));
        Sources(all)
    }

    /// The module in whose file a path ends, through what modules give on.
    fn resolve(&self, path: &[String]) -> Option<&Module> {
        let mut path = path.to_vec();
        // A chain of re-exports is short.
        for _ in 0..8 {
            let depth = (0..=path.len()).rev().find(|&n| self.0.contains_key(&path[..n]))?;
            let (module, rest) = path.split_at(depth);
            let source = &self.0[module];
            let Some(first) = rest.first() else { return Some(&source.module) };
            match source.reexports.iter().find(|(name, _)| name == first) {
                Some((_, target)) => path = target.iter().chain(&rest[1..]).cloned().collect(),
                None => return Some(&source.module),
            }
        }
        None
    }

    /// The modules that a module reads.
    pub fn reads(&self, module: &Module) -> BTreeSet<&Module> {
        self.0[module].named.iter().filter_map(|path| self.resolve(path)).filter(|&m| m != module && !m.is_empty()).collect()
    }
}

struct Reader {
    module: Module,
    named: Vec<Module>,
    reexports: Vec<(String, Module)>,
}

/// Whether an item is `#[cfg(test)]`.
pub fn only_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| a.path().is_ident("cfg") && a.parse_args::<syn::Ident>().is_ok_and(|i| i == "test"))
}

/// The next name of a path, behind its two colons.
fn segment(rest: Cursor<'_>) -> Option<(String, Cursor<'_>)> {
    fn colon(rest: Cursor<'_>) -> Option<Cursor<'_>> {
        rest.punct().filter(|(punct, _)| punct.as_char() == ':').map(|(_, after)| after)
    }
    let (name, after) = colon(rest).and_then(colon)?.ident()?;
    Some((name.to_string(), after))
}

impl Reader {
    /// A path as one from the crate's root; `None` for other crates and what is no module of ours.
    fn absolute(&self, segments: &[String]) -> Option<Module> {
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" | "spgraph" => Some(rest.to_vec()),
            "self" => Some(self.module.iter().chain(rest).cloned().collect()),
            "super" => {
                let mut base = self.module.clone();
                let ups = segments.iter().take_while(|s| *s == "super").count();
                base.truncate(base.len().saturating_sub(ups));
                Some(base.into_iter().chain(segments[ups..].iter().cloned()).collect())
            }
            // A child's name, or a name that is in scope by a `use`, which counts by itself.
            _ => Some(self.module.iter().chain(segments).cloned().collect()).filter(|_| segments.len() > 1),
        }
    }

    /// The paths among tokens that are no syntax yet.
    fn tokens(&mut self, mut rest: Cursor) {
        while !rest.eof() {
            if let Some((inside, _, _, after)) = rest.any_group() {
                self.tokens(inside);
                rest = after;
                continue;
            }
            let Some((first, mut after)) = rest.ident() else {
                rest = rest.token_tree().map_or_else(Cursor::empty, |(_, after)| after);
                continue;
            };
            let mut segments = vec![first.to_string()];
            while let Some((next, behind)) = segment(after) {
                segments.push(next);
                after = behind;
            }
            self.named.extend(self.absolute(&segments));
            rest = after;
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>, public: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before, public);
                before.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, before, public)),
            syn::UseTree::Name(name) => self.used(before, &name.ident.to_string(), &name.ident.to_string(), public),
            syn::UseTree::Rename(name) => self.used(before, &name.ident.to_string(), &name.rename.to_string(), public),
            syn::UseTree::Glob(_) => self.used(before, "self", "", public),
        }
    }

    fn used(&mut self, before: &[String], name: &str, known_as: &str, public: bool) {
        let mut segments = before.to_vec();
        if name != "self" {
            segments.push(name.to_string());
        }
        if let Some(path) = self.absolute(&segments) {
            // What is given on is read as well.
            self.named.push(path.clone());
            if public {
                self.reexports.push((known_as.to_string(), path));
            }
        }
    }
}

impl Visit<'_> for Reader {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if !only_for_tests(&item.attrs) {
            self.tree(&item.tree, &mut vec![], !matches!(item.vis, syn::Visibility::Inherited));
        }
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if !only_for_tests(&item.attrs) && item.content.is_some() {
            // A module within the file: `super` is this file, which is no reading of another.
            self.module.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if !only_for_tests(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if let Some(path) = self.absolute(&segments) {
            self.named.push(path);
        }
        syn::visit::visit_path(self, path);
    }

    /// What macros are made of, and what is given to them, is code of this file.
    fn visit_macro(&mut self, code: &syn::Macro) {
        self.tokens(TokenBuffer::new2(code.tokens.clone()).begin());
        syn::visit::visit_macro(self, code);
    }
}
