#!/usr/bin/env python3
"""Makes programs of the C++ blocks in Markdown pages, so that no page shows what does not work.

    blocks.py ROOT OUT PAGE...

Which blocks, and how they are meant, is told by the words after the three backquotes:

    ```cpp          with `int main` in it: a whole program, compiled as it is and run.
                    Without: the body of a function, compiled and run inside weft::run; in front of
                    it stand <weft/weft.hpp>, much of the standard library and the chrono literals.
                    A block that calls weft::run itself is run outside of it.
    ```cpp top      declarations that the later blocks of the page use.
    ```cpp no-run   as above, but only compiled.

Blocks without `int main` are compiled together, one program a page; its argument is the line of the
block to run. Into OUT go the sources and blocks.cmake, which lists them: weft_doc_programs, and for
each of them weft_doc_runs_NAME, the arguments of its runs. Files whose text is the same are left
alone, so that a build compiles only what a change to a page has touched.
"""

import pathlib
import re
import sys

FENCE = re.compile(r"^(\s*)(```+|~~~+)\s*(.*?)\s*$")
PRELUDE = """\
#include <weft/weft.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>
"""


class Block:
    def __init__(self, page, line, words, text):
        self.page, self.line, self.words, self.text = page, line, words, text
        self.is_program = re.search(r"\bint\s+main\s*\(", text) is not None
        self.runs_itself = re.search(r"\bweft::(run\s*\(|Runner\b|Runtime\b)", text) is not None

    @property
    def is_run(self):
        return "no-run" not in self.words and "top" not in self.words

    def source(self, skip_includes=False):
        lines = self.text.split("\n")
        if skip_includes:
            lines = ["" if is_include(line) else line for line in lines]
        return f'#line {self.line + 1} "{self.page}"\n' + "\n".join(lines) + "\n"


def is_include(line):
    return re.match(r"\s*#\s*include\b", line) is not None


def blocks_of(page, text):
    """The C++ blocks of a page; `line` is that of the opening fence."""
    opened = None
    for number, line in enumerate(text.splitlines(), start=1):
        fence = FENCE.match(line)
        if opened is None:
            if fence:
                opened = (number, fence.group(1), fence.group(2), fence.group(3).split(), [])
            continue
        start, indent, mark, words, body = opened
        if fence and fence.group(2).startswith(mark) and not fence.group(3):
            if words and words[0] in ("cpp", "c++"):
                unknown = set(words[1:]) - {"no-run", "top"}
                if unknown:
                    sys.exit(f"{page}:{start}: unknown words after the fence: {sorted(unknown)}")
                yield Block(page, start, words[1:], "\n".join(body))
            opened = None
        else:
            body.append(line.removeprefix(indent))
    if opened is not None:
        sys.exit(f"{page}:{opened[0]}: this block is not closed")


def page_program(blocks):
    """One program of all blocks of a page that are not programs themselves."""
    includes = [line.strip() for b in blocks for line in b.text.split("\n") if is_include(line)]
    parts = [PRELUDE, *sorted({line + "\n" for line in includes})]
    parts.append("\nusing namespace std::chrono_literals;\n\n")
    cases = []
    for block in blocks:
        body = block.source(skip_includes=True)
        if "top" in block.words:
            parts.append(body)
            continue
        name = f"block_at_{block.line}"
        parts.append(f"static void {name}() {{\n{body}}}\n\n")
        call = name if block.runs_itself else f"[] {{ weft::run([] {{ {name}(); }}); }}"
        cases.append(f"    if (line == {block.line}) run = {call};\n")
    parts.append('#line 1 "blocks.py"\n')
    parts.append("int main(int argc, char** argv) {\n")
    parts.append("    const int line = argc == 2 ? std::atoi(argv[1]) : 0;\n")
    parts.append("    void (*run)() = nullptr;\n")
    parts.extend(cases)
    parts.append("    if (!run) return 2;\n    run();\n}\n")
    return "".join(parts)


def write_if_changed(path, text):
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main():
    root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    programs, listing = [], []

    def add(name, text, runs):
        write_if_changed(out / f"{name}.cpp", text)
        programs.append(name)
        listing.append(f"set(weft_doc_runs_{name} {' '.join(runs)})\n")

    for argument in sys.argv[3:]:
        path = pathlib.Path(argument)
        page = path.relative_to(root).as_posix()
        stem = re.sub(r"\W", "_", page.removesuffix(".md"))
        blocks = list(blocks_of(page, path.read_text(encoding="utf-8")))
        for block in blocks:
            if block.is_program:
                runs = [f"{page}:{block.line}"] if block.is_run else []
                add(f"{stem}_{block.line}", block.source(), runs)
        snippets = [b for b in blocks if not b.is_program]
        if snippets:
            runs = [f"{page}:{b.line}" for b in snippets if b.is_run]
            add(stem, page_program(snippets), runs)

    listing.insert(0, f"set(weft_doc_programs {' '.join(programs)})\n")
    write_if_changed(out / "blocks.cmake", "".join(listing))


if __name__ == "__main__":
    main()
