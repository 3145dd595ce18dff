#!/usr/bin/env python3
"""Each rule of house.py finds what it is there for, and nothing in a tidy house."""

import pathlib
import tempfile
import unittest

import house

TIDY = {
    "runtime/weft/lowlevel.hpp": "#pragma once\n#include <atomic>\n",
    "runtime/worker.hpp": "#pragma once\n#include <tbb/task_arena.h>\n#include <weft/lowlevel.hpp>\n",
    "api/weft/queue.hpp": "#pragma once\n#include <weft/lowlevel.hpp>\n",
    "api/weft/weft.hpp": "#pragma once\n#include <weft/queue.hpp>\n",
    "api/weft/asio.hpp": "#pragma once\n#include <boost/asio.hpp>\n",
    "tests/api/queue_test.cpp": "#include <weft/queue.hpp>\n// sleep_for( would be banned\n",
}


def broken(files=None):
    """The names of the rules that a tidy house with these changes breaks."""
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for name, text in {**TIDY, **(files or {})}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        subject = house.House(root)
        return [rule.__name__ for rule in house.RULES if list(rule(subject))]


class House(unittest.TestCase):
    def one(self, rule, name, text):
        self.assertEqual(broken(files={name: text}), [rule])

    def test_a_tidy_house_breaks_no_rule(self):
        self.assertEqual(broken(), [])

    def test_runtime_including_api_is_found(self):
        self.one("includes_go_down", "runtime/a.cpp", "#include <weft/queue.hpp>\n")

    def test_api_including_a_private_header_is_found(self):
        self.one("includes_go_down", "api/a.cpp", '#include "worker.hpp"\n')

    def test_a_public_header_with_boost_is_found(self):
        text = "#pragma once\n#  include <boost/asio.hpp>\n"
        self.one("public_headers_are_light", "runtime/weft/detail/a.hpp", text)

    def test_a_public_header_with_functional_is_found(self):
        text = TIDY["api/weft/queue.hpp"] + "#include <functional>\n"
        self.one("public_headers_are_light", "api/weft/queue.hpp", text)

    def test_an_umbrella_with_boost_behind_it_is_found(self):
        text = TIDY["api/weft/weft.hpp"] + "#include <weft/asio.hpp>\n"
        self.one("public_headers_are_light", "api/weft/weft.hpp", text)

    def test_a_header_missing_in_the_umbrella_is_found(self):
        self.one("umbrella_is_whole", "api/weft/lock.hpp", "#pragma once\n")

    def test_a_header_without_pragma_once_is_found(self):
        self.one("headers_begin_with_pragma_once", "tests/a.hpp", "int x;\n")

    def test_a_long_file_is_found(self):
        self.one("rooms_are_small", "runtime/a.cpp", "\n" * (house.MAX_LINES + 1))

    def test_a_sleeping_test_is_found(self):
        self.one("tests_do_not_sleep", "tests/a_test.cpp", "std::this_thread::sleep_for(1ms);\n")

    def test_a_path_of_a_machine_is_found(self):
        self.one("no_path_of_a_machine", "docs/a.md", "see /" + "home/me/weft\n")

    def test_a_table_in_another_order_than_its_struct_is_found(self):
        struct = "#pragma once\nstruct Both {\n    int a = 0;  ///< one\n    std::string b{};\n};\n"
        table = "| of `Both` | |\n| --- | --- |\n| `{}` | x |\n| `{}` | `a` |\n"
        for first, second, rules in (
            ("a", "b", []),
            ("b", "a", ["tables_are_in_the_order_of_members"]),
            ("a", "c", ["tables_are_in_the_order_of_members"]),
        ):
            files = {"api/weft/queue.hpp": struct, "docs/reference.md": table.format(first, second)}
            self.assertEqual(broken(files), rules)


if __name__ == "__main__":
    unittest.main()
