#!/usr/bin/env python3
"""The table of CPython's asyncio tests that weft passes, from what a test run left.

    table.py write RESULTS PAGE     writes it into PAGE, below its marker
    table.py check RESULTS PAGE     whether PAGE says what RESULTS do; no case fails

RESULTS has FILE.json for each cases/FILE.txt, as GoogleTest writes it. A line of cases/FILE.txt is
`Class.test_case`, or `Class.test_case | why C++ has no such thing`. A case is covered by the test
FILE/Class.test_case, in all the places where that runs. To write the page after a change:

    ctest --preset dev -L conformance; tests/conformance/table.py write build/dev/tests/conformance/results docs/conformance.md
"""

import json
import pathlib
import re
import sys

CASES = pathlib.Path(__file__).resolve().parent / "cases"
MARKER = "<!-- What follows is written by tests/conformance/table.py. -->\n"


def read_cases(path):
    cases = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, reason = (part.strip() for part in line.partition("|"))
        name = name.removeprefix("_")
        if name in cases:
            raise SystemExit(f"{path}: {name} is listed twice")
        cases[name] = reason
    return cases


def read_results(path):
    """Of each case, whether its test passed in all places."""
    passed = {}
    if not path.exists():
        return passed
    for suite in json.loads(path.read_text(encoding="utf-8"))["testsuites"]:
        for test in suite["testsuite"]:
            # FILE/Class.test_case/Place; a class may have a second fixture for other places.
            kind = re.sub("_(on_threads|in_order)$", "", suite["name"].split("/")[-1])
            case = kind + "." + test["name"].split("/")[0]
            if test["result"] == "SKIPPED":
                continue
            good = test["result"] == "COMPLETED" and "failures" not in test
            passed[case] = passed.get(case, True) and good
    return passed


def judge(directory):
    """For each file, the names of its cases by what became of them."""
    files = {}
    for path in sorted(CASES.glob("*.txt")):
        cases = read_cases(path)
        passed = read_results(directory / f"{path.stem}.json")
        unknown = sorted(set(passed) - set(cases))
        if unknown:
            raise SystemExit(f"{path}: no such case: {', '.join(unknown)}")
        contradicted = sorted(name for name in passed if cases[name])
        if contradicted:
            raise SystemExit(f"{path}: has a reason and a test: {', '.join(contradicted)}")
        files[path.stem] = {
            "all": list(cases),
            "covered": [name for name in cases if passed.get(name)],
            "failing": [name for name in cases if passed.get(name) is False],
            "not applicable": {name: reason for name, reason in cases.items() if reason},
            "missing": [name for name in cases if name not in passed and not cases[name]],
        }
    return files


def render(files):
    columns = ["all", "covered", "not applicable", "missing", "failing"]
    lines = ["| file | cases | covered | not applicable | not covered | failing |"]
    lines.append("| --- |" + " ---: |" * len(columns))
    for file, kinds in files.items():
        lines.append(f"| {file}.py | " + " | ".join(str(len(kinds[c])) for c in columns) + " |")
    sums = [str(sum(len(kinds[c]) for kinds in files.values())) for c in columns]
    lines.append("| **all** | " + " | ".join(f"**{n}**" for n in sums) + " |")
    for title, kind in [("Failing", "failing"), ("Not covered", "missing")]:
        names = [f"- {file}.py: {', '.join(k[kind])}" for file, k in files.items() if k[kind]]
        if names:
            lines += ["", f"## {title}", ""] + names
    lines += ["", "## Not applicable", ""]
    for file, kinds in files.items():
        by_reason = {}
        for name, reason in kinds["not applicable"].items():
            by_reason.setdefault(reason, []).append(name)
        if by_reason:
            lines += [f"{file}.py:", ""]
            lines += [f"- {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("write", "check"):
        raise SystemExit(__doc__)
    files = judge(pathlib.Path(sys.argv[2]))
    page = pathlib.Path(sys.argv[3])
    head, marker, table = page.read_text(encoding="utf-8").partition(MARKER)
    if not marker:
        raise SystemExit(f"{page}: the line {MARKER.strip()} is missing")
    fresh = render(files)
    if sys.argv[1] == "write":
        page.write_text(head + marker + "\n" + fresh, encoding="utf-8")
        return
    failing = [f"{file}.py {name}" for file, kinds in files.items() for name in kinds["failing"]]
    if failing:
        raise SystemExit("failing: " + ", ".join(failing))
    if table.strip() != fresh.strip():
        raise SystemExit(f"{page} does not say what the run did; `table.py write` makes it:\n{fresh}")


if __name__ == "__main__":
    main()
