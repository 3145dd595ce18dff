#!/usr/bin/env python3
"""semantics.py finds what is wrong with a page, and nothing in one that is right."""

import pathlib
import tempfile
import unittest

import semantics

SOURCES = {
    "tests/api/lock_test.cpp": "TEST_P(LockTest, Waits) {\n}\n// TEST(LockTest, IsGone) {\n",
    "tests/conformance/test_locks_barrier.cpp": (
        "WEFT_CONFORMS_IN_ORDER(test_locks, BarrierTests);\nTEST_P(BarrierTests_in_order, test_drain) {\n"
    ),
    "tests/compile_fail/no_lock.cpp": "int main() {}\n",
}


def wrong(*rows):
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for name, text in SOURCES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        page = "\n".join([semantics.HEAD, "| --- | --- | --- | --- |", *rows])
        return [what for _, what in semantics.wrong_in(page, semantics.tests_of(root))]


class Semantics(unittest.TestCase):
    def one(self, part, *rows):
        found = wrong(*rows)
        self.assertEqual(len(found), 1, found)
        self.assertIn(part, found[0])

    def test_a_page_that_is_right(self):
        rows = [
            "| lk-1 | it waits | any | `LockTest.Waits`, `compile_fail/no_lock`; departs: of course |",
            "| ba-1 | it drains | strict | `test_locks/BarrierTests.test_drain` |",
            "| ba-2 | it sings | any | none: it has no voice |",
            "| ba-3 | it sinks | any | - untested |",
        ]
        self.assertEqual(wrong(*rows), [])

    def test_a_test_that_does_not_exist(self):
        self.one("LockTest.IsGone", "| lk-1 | it waits | any | `LockTest.Waits`, `LockTest.IsGone` |")

    def test_a_case_of_another_file(self):
        self.one("test_queues", "| ba-1 | it drains | any | `test_queues/BarrierTests.test_drain` |")

    def test_an_id_that_stands_twice(self):
        row = "| lk-1 | it waits | any | `LockTest.Waits` |"
        self.one("again", row, row)

    def test_no_test_and_no_reason(self):
        self.one("does not say why", "| lk-1 | it waits | any |  |")
        self.one("does not say why", "| lk-1 | it waits | any | none: |")

    def test_a_place_that_is_none(self):
        self.one("strict", "| lk-1 | it waits | here | `LockTest.Waits` |")

    def test_a_page_without_sentences(self):
        self.one("no sentences")


if __name__ == "__main__":
    unittest.main()
