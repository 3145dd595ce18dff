#!/usr/bin/env python3
"""The rules of the house that a compiler does not know.

    tests/house.py [ROOT]

Each rule is a function that yields (file, line, what is wrong). Exit status 1 if any does.
"""

import pathlib
import re
import subprocess
import sys

MAX_LINES = 600
SOURCES = {".hpp", ".cpp"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')

# The two public headers that are about another library, and may therefore include it.
OPT_IN = {"api/weft/asio.hpp", "api/weft/cereal.hpp"}
# What one asks for by name, since a program does not need it.
NOT_IN_UMBRELLA = OPT_IN | {"api/weft/testing.hpp"}
HEAVY = re.compile(r"^(boost/|tbb/|oneapi/|cereal/)|^(future|functional|iostream)$")


def files_of(root):
    """What git tracks or would track; outside of a checkout, what lies there."""
    try:
        command = ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"]
        names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()]
        names = [n for n in names if not n.startswith(("build/", "build-", ".git/"))]
    return sorted(n for n in names if n and (root / n).is_file())


class House:
    def __init__(self, root):
        self.root = root
        self.files = files_of(root)
        self.api_names = self.names_below("api/")
        self.runtime_names = self.names_below("runtime/")

    def names_below(self, room):
        """Each header of a room, by the name under which it is included."""
        return {n[len(room):] for n in self.files if n.startswith(room) and n.endswith(".hpp")}

    def sources(self, *rooms):
        for name in self.files:
            if name.startswith(rooms) and pathlib.Path(name).suffix in SOURCES:
                yield name

    def lines(self, name):
        text = (self.root / name).read_text(encoding="utf-8", errors="replace")
        return enumerate(text.splitlines(), start=1)

    def includes(self, name):
        for number, line in self.lines(name):
            if found := INCLUDE.match(line):
                yield number, found.group(2)

    def meant(self, name, included):
        """The room's file that an #include names, if it is one of ours."""
        beside = (pathlib.PurePosixPath(name).parent / included).as_posix()
        for candidate in (beside, "runtime/" + included, "api/" + included, included):
            if candidate in self.files:
                return candidate
        return None


def includes_go_down(house):
    """api stands on runtime/weft/ alone; runtime knows nothing of api."""
    for name in house.sources("runtime/"):
        for number, included in house.includes(name):
            if (house.meant(name, included) or "").startswith("api/"):
                yield name, number, f"runtime includes api: {included}"
    for name in house.sources("api/"):
        for number, included in house.includes(name):
            target = house.meant(name, included) or ""
            if target.startswith("runtime/") and not target.startswith("runtime/weft/"):
                yield name, number, f"api includes what is private to runtime: {included}"


def public_headers_are_light(house):
    for name in house.sources("runtime/weft/", "api/weft/"):
        if not name.endswith(".hpp") or name in OPT_IN:
            continue
        for number, included in house.includes(name):
            if HEAVY.search(included):
                yield name, number, f"a public header includes <{included}>"
            target = house.meant(name, included)
            if target and not target.startswith(("runtime/weft/", "api/weft/")):
                yield name, number, f"a public header includes a private one: {included}"
            if target in OPT_IN:
                yield name, number, f"a public header includes what people have to ask for: {included}"


def umbrella_is_whole(house):
    """weft.hpp brings every public header of api/weft/ but those above."""
    umbrella = "api/weft/weft.hpp"
    if umbrella not in house.files:
        return
    included = {included for _, included in house.includes(umbrella)}
    for name in house.sources("api/weft/"):
        if name == umbrella or name in NOT_IN_UMBRELLA or name.count("/") != 2:
            continue
        if name[len("api/"):] not in included:
            yield umbrella, 1, f"does not include <{name[len('api/'):]}>"


def headers_begin_with_pragma_once(house):
    for name in house.sources("runtime/", "api/", "tests/", "bench/"):
        if name.endswith(".hpp"):
            if not any(line.strip() == "#pragma once" for _, line in house.lines(name)):
                yield name, 1, "has no #pragma once"


def rooms_are_small(house):
    for name in house.sources("runtime/", "api/"):
        count = sum(1 for _ in house.lines(name))
        if count > MAX_LINES:
            yield name, count, f"{count} lines: more than {MAX_LINES}"


def tests_do_not_sleep(house):
    """Not by the clock of the wall: virtual time, a sequencer, or "until all are parked"."""
    call = re.compile(r"\b(sleep_for|usleep|nanosleep)\s*\(|this_thread::sleep_until\b")
    for name in house.sources("tests/"):
        for number, line in house.lines(name):
            if call.search(line.split("//")[0]):
                yield name, number, "sleeps on the clock of the wall"


def no_path_of_a_machine(house):
    path = re.compile(r"(?<![\w.$}/-])/(home|root|Users|work)/[\w.]")
    for name in house.files:
        if name == "LICENSE":
            continue
        for number, line in house.lines(name):
            if path.search(line):
                yield name, number, f"a path of one machine: {line.strip()[:80]}"


def fields_of(struct):
    """The data members in a struct's body, in order."""
    body = re.sub(r"//.*", "", struct)
    return re.findall(r"^    [\w:<>, ]*?[\w>] (\w+)\s*(?:=[^;]*|\{[^;]*\})?;", body, re.MULTILINE)


def tables_are_in_the_order_of_members(house):
    """Who copies a table into designated initialisers gets what compiles: a table of the reference
    that is headed "of `X`" has X's members, all of them, as they are declared."""
    page = "docs/reference.md"
    if page not in house.files:
        return
    structs = {}
    for name in house.sources("runtime/weft/", "api/weft/"):
        text = (house.root / name).read_text(encoding="utf-8")
        found = re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.MULTILINE | re.DOTALL)
        structs.update((struct, fields_of(body)) for struct, body in found)
    tables = []
    at_table = None
    for number, line in house.lines(page):
        if head := re.match(r"\| of `(\w+)` \|", line):
            at_table = (number, head.group(1), [])
            tables.append(at_table)
        elif not line.startswith("|"):
            at_table = None
        elif at_table is not None:
            at_table[2].extend(re.findall(r"`(\w+)`", line.split("|")[1]))
    for number, struct, listed in tables:
        if listed != structs.get(struct):
            declared = ", ".join(structs.get(struct, ["nothing"]))
            yield page, number, f"{struct} declares {declared}, in this order"


RULES = [
    includes_go_down,
    public_headers_are_light,
    umbrella_is_whole,
    headers_begin_with_pragma_once,
    rooms_are_small,
    tests_do_not_sleep,
    no_path_of_a_machine,
    tables_are_in_the_order_of_members,
]


def main():
    default = pathlib.Path(__file__).resolve().parent.parent
    house = House(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default)
    wrong = [(rule.__name__, *found) for rule in RULES for found in rule(house)]
    for rule, name, number, what in wrong:
        print(f"{name}:{number}: {what} [{rule}]")
    if not house.files:
        print("no files found")
    print(f"house: {len(house.files)} files, {len(RULES)} rules, {len(wrong)} broken")
    return 1 if wrong or not house.files else 0


if __name__ == "__main__":
    sys.exit(main())
