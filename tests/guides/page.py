"""What a guide tells its reader to do, as steps that a program can do.

A guide is a page of Markdown for people. A step is said in one of these forms, in a paragraph or an item of a list whose first file name is the file's:

    `src/ops/erf.rs`:                                 a new file, the block of code that follows
    `src/x.rs`, at the end:                           the block, at the end of the file
    `src/ops/mod.rs`, after `mod a;`: `mod b;`        a line (or the block that follows) after the only line that reads so
    `src/x.rs`, into `NAMES = [`: `b`                 items (or the block) at the end of the only list that opens so
    `src/x.rs`: `fn size` becomes `pub(super) fn size`   the only text that reads so

Commands are lines of blocks that are set in by four spaces. Whatever else a page says is for people alone.
"""
import dataclasses
import re
import textwrap

FILE = re.compile(r"`((?:src|tests|docs|examples)/[\w./-]+\.\w+)`")
ITEMS = r"((?:`[^`]+`(?:,? and |, )?)+)"
INTO = re.compile(r"into `([^`]+)`: " + ITEMS)
AFTER = re.compile(r"after `([^`]+)`: `([^`]+)`")
BECOMES = re.compile(r"`([^`]+)` becomes `([^`]+)`")
COMMANDS = ("cargo ", "SPGRAPH_BLESS=1 cargo ", "spgraph ", "python tests/", "pytest ")


class Stale(Exception):
    """A step of a guide that cannot be done."""


@dataclasses.dataclass
class Step:
    kind: str  # create, append, after, into, becomes, run
    line: int  # of the page
    file: str = ""
    where: str = ""
    text: str = ""


def steps(page):
    """The steps of a page, in its order."""
    found, text, began = [], "", 0
    lines = page.splitlines()
    at = 0

    def told():
        if text:
            found.extend(inline(text, began))

    while at < len(lines):
        line = lines[at]
        fence = re.match(r"( *)```(\w*)$", line)
        if fence:
            end = next(i for i in range(at + 1, len(lines)) if lines[i] == fence[1] + "```")
            block = textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n"
            told()
            found.extend(of_block(text, began, block))
            text, at = "", end + 1
            continue
        item = re.match(r" *(?:[-*]|\d+\.) ", line)
        command = re.match(r"(?:    |      )(\S.*)$", line)
        if command and not text and command[1].startswith(COMMANDS):
            found.append(Step("run", at + 1, text=command[1]))
        elif not line.strip():
            # A block of code may follow after an empty line.
            following = next((l for l in lines[at:] if l.strip()), "")
            if not re.match(r" *```", following):
                told()
                text = ""
        elif item or line.startswith("#"):
            told()
            text, began = line[item.end() :] if item else "", at + 1
        elif text:
            text += " " + line.strip()
        else:
            text, began = line.strip(), at + 1
        at += 1
    told()
    return found


def inline(text, line):
    """The steps that stand in a paragraph itself."""
    first = FILE.search(text)
    if not first:
        return
    for match in sorted((m for form in (INTO, AFTER, BECOMES) for m in form.finditer(text)), key=lambda m: m.start()):
        # The file named last before it.
        file = [m[1] for m in FILE.finditer(text, 0, match.start())][-1:]
        if not file:
            continue
        if match.re is INTO:
            for one in re.findall(r"`([^`]+)`", match[2]):
                yield Step("into", line, file[0], match[1], one)
        else:
            yield Step("after" if match.re is AFTER else "becomes", line, file[0], match[1], match[2])


def of_block(text, line, block):
    """The step that a paragraph says of the block behind it."""
    files = [m for m in FILE.finditer(text)]
    if not files or not text.endswith(":"):
        return
    file, rest = files[-1][1], text[files[-1].end() :]
    if rest == ":":
        yield Step("create", line, file, text=block)
    elif re.search(r"\bat the end:$", rest):
        yield Step("append", line, file, text=block)
    elif where := re.search(r"\b(after|into) `([^`]+)`:$", rest):
        yield Step(where[1], line, file, where[2], block)


def do(step, before):
    """The file's text with the step done; `before` is None where there is no file."""
    if step.kind == "create":
        return step.text
    if before is None:
        raise Stale(f"there is no {step.file}")
    if step.kind == "append":
        return before.rstrip("\n") + "\n\n" + step.text
    if step.kind == "becomes":
        only(before.count(step.where), step, f"`{step.where}`")
        return before.replace(step.where, step.text)
    if step.kind == "after":
        lines = before.splitlines()
        at = [i for i, l in enumerate(lines) if l.strip() == step.where]
        only(len(at), step, f"a line `{step.where}`")
        indent = re.match(r"\s*", lines[at[0]])[0]
        lines[at[0] + 1 : at[0] + 1] = textwrap.indent(step.text.rstrip("\n"), indent).splitlines()
        return "\n".join(lines) + "\n"
    opens, closes = span(step, before)
    inside = before[opens:closes]
    kept = inside.rstrip()
    comma = "" if not kept or kept.endswith((",", "}")) and "\n" in step.text or kept.endswith(",") else ","
    if "\n" in inside:
        own = re.match(r"\s*", kept.splitlines()[-1] if kept.strip() else "    ")[0]
        added = textwrap.indent(step.text.rstrip("\n"), own)
        end = "" if "\n" in step.text else ","
        return before[:opens] + kept + comma + "\n" + added + end + inside[len(kept) :] + before[closes:]
    gap = " " if kept.endswith(",") else ""
    return before[:opens] + kept + (comma and comma + " ") + gap + step.text + inside[len(kept) :] + before[closes:]


def undo(step, now):
    """The file's text without what the step adds, for an example that is in the repository."""
    if step.kind == "create":
        return None
    if step.kind == "becomes":
        return now.replace(step.text, step.where)
    if step.kind in ("after", "append"):
        if step.kind == "after" and "\n" not in step.text:
            lines = now.splitlines()
            at = [i for i, l in enumerate(lines) if l.strip() == step.text]
            only(len(at), step, f"a line `{step.text}`")
            del lines[at[0]]
            return "\n".join(lines) + "\n"
        only(now.count(step.text), step, "the block")
        return now.replace(step.text, "")
    opens, closes = span(step, now)
    left, count = re.subn(rf"(?<![\w&:\"]){re.escape(step.text)}\s*,[ ]*\n?[ ]*", "", now[opens:closes])
    only(count, step, f"`{step.text}`")
    return now[:opens] + left + now[closes:]


def only(count, step, what):
    if count != 1:
        raise Stale(f"{step.file} has {what} {count} times, not once")


def span(step, text):
    """From behind the opening bracket to its closing one; strings, characters and comments may hold any."""
    opening = list(re.finditer(r"\s+".join(map(re.escape, step.where.split())), text))
    only(len(opening), step, f"`{step.where}`")
    start = opening[0].end()
    if step.where[-1] not in "([{":
        raise Stale(f"`{step.where}` opens no list")
    depth, other = 1, re.compile(r"//[^\n]*|#(?!\[)[^\n]*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\\n])'|[(\[{]|[)\]}]", re.S)
    for token in other.finditer(text, start):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return start, token.start()
    raise Stale(f"`{step.where}` of {step.file} has no end")
