//! What the library says: its texts name options (`src/field.rs`), and the command line puts its flags in their place.

use crate::sources::{code_files, only_for_tests};
use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::Visit;

/// Flags of pip, which a text on the way to ONNX Runtime names.
const OF_OTHERS: &[&str] = &["--no-deps", "--only-binary", "--python-version", "--platform"];

/// String literals of code, those within macros included; documentation and tests are left out.
#[derive(Default)]
struct Texts(Vec<String>);

impl Texts {
    fn tokens(&mut self, mut rest: Cursor) {
        while !rest.eof() {
            if let Some((inside, _, _, after)) = rest.any_group() {
                self.tokens(inside);
                rest = after;
                continue;
            }
            if let Some((literal, _)) = rest.literal()
                && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
            {
                self.0.push(text.value());
            }
            rest = rest.token_tree().map_or_else(Cursor::empty, |(_, after)| after);
        }
    }
}

impl Visit<'_> for Texts {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if !only_for_tests(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if !only_for_tests(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &syn::Attribute) {}

    fn visit_lit_str(&mut self, text: &syn::LitStr) {
        self.0.push(text.value());
    }

    fn visit_macro(&mut self, code: &syn::Macro) {
        self.tokens(TokenBuffer::new2(code.tokens.clone()).begin());
    }
}

/// The flags that a text tells a reader, each with its `--`. A line that is a command as a whole, as pages and files have them to be copied, tells none.
fn flags(text: &str) -> Vec<String> {
    let is_command = |line: &&str| line.trim_start_matches(['#', ' ']).starts_with("spgraph ");
    let told = text.lines().filter(|line| !is_command(line)).flat_map(|line| line.split([' ', '`', '(', '"', '\'']).skip(1));
    told.filter(|word| word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase())))
        .map(|word| word.trim_end_matches([',', '.', ';', ':', ')']).to_string())
        .filter(|flag| !OF_OTHERS.contains(&flag.split('=').next().unwrap_or(flag)))
        .collect()
}

#[test]
fn the_librarys_texts_name_no_flags() {
    let mut wrong = vec![];
    for (file, text) in code_files().into_iter().filter(|(file, _)| !file.starts_with("cli") && !file.ends_with("tests.rs")) {
        let mut texts = Texts::default();
        texts.visit_file(&syn::parse_file(&text).unwrap());
        wrong.extend(texts.0.iter().filter(|t| !flags(t).is_empty()).map(|t| format!("{}: {:?} in {t:?}", file.display(), flags(t))));
    }
    assert!(wrong.is_empty(), "name options by their `Field`, which the command line shows as its flags:\n{}", wrong.join("\n"));
}

#[test]
fn flags_are_seen_in_texts() {
    assert_eq!(flags("run with --kernels standard, or (--mean, `--std`)"), ["--kernels", "--mean", "--std"]);
    assert_eq!(flags("--fmad=false"), [""; 0]);
    assert_eq!(flags("goes on with\n#   spgraph finetune --config FILE\n"), [""; 0]);
}
