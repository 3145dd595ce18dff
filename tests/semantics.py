#!/usr/bin/env python3
"""Whether each sentence of docs/semantics.md stands once, and each test that it names exists.

    tests/semantics.py [ROOT]

A test is named as GoogleTest has it, `Suite.Name`; as `test_file/Class.test_case` if it is one of CPython's cases, in
whichever places that runs; or as `compile_fail/NAME`. A row with none says why. Exit status 1 if anything is wrong.
"""

import pathlib
import re
import sys

HEAD = "| id | what must hold | where | tests |"
TEST = re.compile(r"^TEST(?:_P|_F)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
FIXTURE = re.compile(r"^WEFT_CONFORMS\w*\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
ID = re.compile(r"[a-z]+-\d+[a-z]?")
NAMES = re.compile(r"`[^`]+`(?:, `[^`]+`)*")


def tests_of(root):
    """The names of all tests below tests/."""
    files = {}
    names = set()
    sources = sorted(p for p in (root / "tests").rglob("*") if p.suffix in (".cpp", ".hpp"))
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in sources}
    for text in texts.values():
        for file, fixture in FIXTURE.findall(text):
            files.setdefault(fixture, set()).add(file)
    for path, text in texts.items():
        if path.parent.name == "compile_fail":
            names.add(f"compile_fail/{path.stem}")
        for suite, name in TEST.findall(text):
            if path.parent.name != "conformance":
                names.add(f"{suite}.{name}")
                continue
            # A class may have a second fixture for other places.
            kind = re.sub("_(on_threads|in_order)$", "", suite)
            of = files.get(kind, set()) | files.get(suite, set())
            names.update(f"{file}/{kind}.{name}" for file in of)
    return names


def rows_of(text):
    """Each row of the page's tables: its line and its cells."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        inside = line.strip() == HEAD or (inside and line.startswith("|"))
        if inside and line.strip() != HEAD and not line.startswith("| ---"):
            yield number, [cell.strip() for cell in line.strip().strip("|").split("|")]


def wrong_in(text, tests):
    """What is wrong with the page, as (line, what)."""
    seen = set()
    for number, cells in rows_of(text):
        if len(cells) != 4:
            yield number, f"has {len(cells)} cells and not 4"
            continue
        sentence, what, where, named = cells
        if not ID.fullmatch(sentence):
            yield number, f"'{sentence}' is no id"
        if sentence in seen:
            yield number, f"{sentence} stands here again"
        seen.add(sentence)
        if not what:
            yield number, f"{sentence} says nothing"
        if where not in ("any", "strict"):
            yield number, f"{sentence} holds neither in any nor in strict mode: '{where}'"
        names, _, note = named.partition("; ")
        if re.match(r"none: \S|- untested\b", named):
            continue
        if not NAMES.fullmatch(names) or (";" in named and not note):
            yield number, f"{sentence} has no tests and does not say why: {named[:60]}"
            continue
        for name in re.findall(r"`([^`]+)`", names):
            if name not in tests:
                yield number, f"{sentence} names a test that does not exist: {name}"
    if not seen:
        yield 1, "has no sentences"


def main():
    default = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    tests = tests_of(root)
    text = (root / "docs/semantics.md").read_text(encoding="utf-8")
    wrong = list(wrong_in(text, tests))
    for number, what in wrong:
        print(f"docs/semantics.md:{number}: {what}")
    rows = list(rows_of(text))
    untested = [cells[0] for _, cells in rows if cells[-1].startswith("- untested")]
    print(f"semantics: {len(rows)} sentences, {len(untested)} untested, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
