"""The program that follows the guides: what it understands of a page, and that a step which cannot be done is no silence."""
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "guides"))
import follow
from page import Stale, do, steps, undo

PAGE = """# Adding something

Prose with `src/a.rs` in it, which is no step.

`src/new.rs`:

```rust
pub struct New;
```

- `src/a.rs`, after `mod a;`: `mod new;`, and into
  `ALL: &[&str] = &[`: `"new"` and `"newer"`
- `src/a.rs`: `fn size` becomes `pub fn size`; `tests/t.py`, into `RULES = {`:

  ```python
  "new": lambda: [1, ")"],
  ```

The short way:

    cargo test --release --lib new
    make check
"""
FILES = {
    "src/a.rs": 'mod a;\nmod b;\nfn size() {}\n/// Every one: ] is no end.\nconst ALL: &[&str] =\n    &["a", "]"];\n',
    "tests/t.py": 'RULES = {\n    "a": 1,  # }\n}\n',
}


def followed(page, files):
    files = dict(files)
    for step in steps(page):
        if step.kind != "run":
            files[step.file] = do(step, files.get(step.file))
    return files


def test_a_page_is_followed_step_by_step():
    files = followed(PAGE, FILES)
    assert files["src/new.rs"] == "pub struct New;\n"
    assert files["src/a.rs"] == (
        'mod a;\nmod new;\nmod b;\npub fn size() {}\n/// Every one: ] is no end.\nconst ALL: &[&str] =\n    &["a", "]", "new", "newer"];\n'
    )
    assert files["tests/t.py"] == 'RULES = {\n    "a": 1,  # }\n    "new": lambda: [1, ")"],\n}\n'
    assert [(s.line, s.text) for s in steps(PAGE) if s.kind == "run"] == [(21, "cargo test --release --lib new")]


def test_what_a_page_adds_can_be_taken_out():
    page = PAGE.replace(' and `"newer"`', "").split("- `src/a.rs`: `fn")[0]
    files = followed(page, FILES)
    files["src/a.rs"] = files["src/a.rs"].replace('"new"]', '"new",]')
    for step in steps(page):
        files[step.file] = undo(step, files[step.file])
    assert files == {"src/new.rs": None, "tests/t.py": FILES["tests/t.py"], "src/a.rs": FILES["src/a.rs"].replace('"]"]', '"]", ]')}


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("mod a;\n", "", "a line `mod a;` 0 times"),
        ("mod a;\n", "mod a;\nmod a;\n", "a line `mod a;` 2 times"),
        ("fn size", "fn length", "`fn size` 0 times"),
        ("ALL:", "EACH:", "`ALL: &[&str] = &[` 0 times"),
    ],
)
def test_a_step_that_cannot_be_done_any_more_says_so(old, new, words):
    with pytest.raises(Stale, match=re.escape(words)):
        followed(PAGE, FILES | {"src/a.rs": FILES["src/a.rs"].replace(old, new)})


def test_every_guide_has_an_example_and_tests_to_run():
    for name in follow.GUIDES:
        path, found = follow.guide(name)
        kinds = [s.kind for s in found]
        assert "create" in kinds and kinds.count("run") >= 1 and len(kinds) > 4, path
    # All of them one after the other, on the files as they are.
    commands, made = follow.follow({})
    assert len(commands) > len(follow.GUIDES) and len(made) >= len(follow.GUIDES)
