#!/usr/bin/env python3
"""Asks the compiler a question about a file, without making anything.

    compile_check.py alone HEADER -- COMPILER FLAGS...   does `#include <HEADER>` compile by itself?
    compile_check.py fails FILE -- COMPILER FLAGS...     is FILE refused, and for the reason that its
                                                         first line `// expect: TEXT` names?
"""

import re
import subprocess
import sys


def compile_text(command, text):
    command = command + ["-fsyntax-only", "-x", "c++", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    return done.returncode, done.stderr


def check_alone(command, header):
    status, errors = compile_text(command, f"#include <{header}>\n#include <{header}>\n")
    if status != 0:
        return f"<{header}> does not compile alone:\n{errors}"
    return None


def check_fails(command, path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    expected = re.match(r"// expect: (.+)\n", text)
    if not expected:
        return f"{path}: the first line is not `// expect: TEXT`"
    status, errors = compile_text(command, f'#line 1 "{path}"\n{text}')
    if status == 0:
        return f"{path} compiles, and should not"
    # Compilers quote differently and break lines; the words are what counts.
    if plain(expected.group(1)) not in plain(errors):
        return f"{path} does not say `{expected.group(1)}`:\n{errors}"
    return None


def plain(text):
    return re.sub(r"\s+", " ", re.sub("[‘’`\"]", "'", text))


def main():
    split = sys.argv.index("--")
    question, subject = sys.argv[1:split]
    wrong = {"alone": check_alone, "fails": check_fails}[question](sys.argv[split + 1 :], subject)
    if wrong:
        print(wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
