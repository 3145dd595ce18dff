#!/usr/bin/env python3
"""weft-compare as people run it: its reports, its exit statuses, and what it does when something goes wrong.

    program_test.py WEFT_COMPARE [unittest's arguments]

The expected results are computed here, apart from the program and from its own Python rows.
"""

import hashlib
import json
import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

PROGRAM = ""
# The limit is far away: the tests may run on a machine with much else to do.
TINY = ["--quick", "--tasks", "24", "--wait", "1", "--cpu", "0.2", "--limit", "30", "--task-limit", "2000",
        "--buffer", "1"]  # fmt: skip
# Of runaway: no thread can be ended, only processes.
STOPPERS = {"to_process", "processes", "py-multiprocessing"}
RUNAWAY = 7  # among 24 tasks
NOBODY = 65534


def run(*args, **kwargs):
    """The program's run, with what it printed as text."""
    kwargs.setdefault("timeout", 120)
    kwargs.setdefault("stdout", subprocess.PIPE)
    command = [kwargs.pop("program", PROGRAM), *map(str, args)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **kwargs)


def make_tree(root):
    """Some files of every awkward kind: empty, binary, large, with a name that is not UTF-8, behind links."""
    (root / "deep" / "er").mkdir(parents=True)
    (root / "plain.txt").write_bytes(b"one two two\tthree\n\v\f\r three three")
    (root / "empty").write_bytes(b"")
    (root / "deep" / "binary").write_bytes(bytes(range(256)) * 64)
    (root / "deep" / "er" / "large").write_bytes(b" ".join(b"w%d" % (i % 977) for i in range(60_000)))
    for i in range(20):
        (root / "deep" / f"small{i}").write_bytes(b"a small file %d" % i)
    pathlib.Path(os.fsdecode(os.fsencode(root) + b"/not-utf8-\xff")).write_bytes(b"latin-1: \xe9t\xe9")
    (root / "link").symlink_to(root / "plain.txt")
    (root / "cycle").symlink_to(root)
    os.mkfifo(root / "pipe")


def files_of(root):
    found = []
    for directory, _, names in os.walk(os.fsencode(root)):
        paths = (os.path.join(directory, name) for name in names)
        found += (path for path in paths if stat.S_ISREG(os.lstat(path).st_mode))
    return sorted(found)


def expected_words(files):
    total, counts = 0, {}
    for path in files:
        with open(path, "rb") as file:
            for word in file.read().split():
                counts[word] = counts.get(word, 0) + 1
                total += 1
    checksum = sum(zlib.crc32(word) * count for word, count in counts.items()) % 2**64
    return total, len(counts), f"{checksum:016x}"


def expected_hashes(files, tasks, hash_bytes, gave_up=()):
    checksum = sum(task * 2246822519 & 0xFFFFFFFF for task in gave_up)
    for task in set(range(tasks)) - set(gave_up):
        path = files[task * len(files) // tasks if tasks < len(files) else task % len(files)]
        with open(path, "rb") as file:
            unit = file.read() or b"\0"
        tile = unit
        while len(tile) < 65536:
            tile += unit
        times = max(1, (hash_bytes + len(tile) // 2) // len(tile))
        checksum += int.from_bytes(hashlib.sha256(tile * times).digest()[:8], "big")
    return f"{checksum % 2**64:016x}"


def expected_buffer(files, task):
    """Of 24 tasks, 1 MiB each: a file repeated, each byte put through the code four times, one in 509 seen."""
    with open(files[task * len(files) // 24 if len(files) > 24 else task % len(files)], "rb") as file:
        unit = file.read() or b"\0"
    seen = bytearray(unit[at % len(unit)] for at in range(0, 2**20, 509))
    for _ in range(4):
        seen = bytearray((byte * 167 + 13) % 256 for byte in seen)
    return zlib.crc32(seen)


class Reports(unittest.TestCase):
    """One tiny run of everything, and all that its reports must hold."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        base = pathlib.Path(cls.temporary.name)
        cls.tree = base / "tree"
        cls.tree.mkdir()
        make_tree(cls.tree)
        cls.files = files_of(cls.tree)
        cls.done = run(
            *TINY, "--input", cls.tree, "--json", base / "r.json", "--html", base / "r.html"
        )
        if cls.done.returncode != 0:
            raise AssertionError(cls.done.stdout + cls.done.stderr)
        cls.report = json.loads((base / "r.json").read_text(encoding="utf-8"))
        cls.html = (base / "r.html").read_text(encoding="utf-8")
        cls.sections = {section["workload"]: section for section in cls.report["workloads"]}

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_json_has_every_workload_and_model(self):
        self.assertEqual(list(self.sections), ["wait", "network", "shared", "cpu", "mixed", "runaway", "buffer"])
        models = [[row["model"] for row in section["rows"]] for section in self.sections.values()]
        self.assertTrue(all(names == models[0] for names in models[:-1]))
        self.assertIn("to_process-copy", models[-1])
        self.assertEqual([name for name in models[-1] if name != "to_process-copy"], models[0])
        self.assertLessEqual(
            {"sequential", "asyncio", "asyncio-all", "to_thread", "to_arena", "to_process",
             "thread-per-task", "thread-pool", "processes", "py-asyncio", "py-threading",
             "py-multiprocessing"},
            set(models[0]),
        )  # fmt: skip

    def test_load_of_others_is_a_share(self):
        self.assertGreaterEqual(self.report["cpu_share_of_others"], 0)
        self.assertLessEqual(self.report["cpu_share_of_others"], 1)

    def test_every_row_is_done_with_all_its_figures(self):
        for section in self.sections.values():
            for row in section["rows"]:
                if section["workload"] == "runaway" and row["model"] not in STOPPERS:
                    continue
                with self.subTest(workload=section["workload"], model=row["model"]):
                    self.assertEqual((row["ending"], row["why"]), ("done", ""))
                    self.assertGreater(row["wall_s"]["median"], 0)
                    self.assertGreaterEqual(row["cpu_s"]["median"], 0)
                    self.assertGreater(row["peak_bytes"]["median"], 2**20)
                    self.assertGreater(row["tasks_per_s"], 0)
                    self.assertEqual(len(row["runs"]), 1)
                    self.assertEqual(row["stderr"], "")

    def test_all_models_give_the_same_result(self):
        for section in self.sections.values():
            self.assertRegex(section["checksum"], "^[0-9a-f]{16}$")
            for row in section["rows"]:
                if row["ending"] == "cannot":
                    continue
                self.assertTrue(row["agrees"], row)
                self.assertEqual(row["runs"][0]["checksum"], section["checksum"])

    def test_word_count_is_right(self):
        section = self.sections["shared"]
        self.assertEqual(section["tasks"], 24)
        tasks = [self.files[task * len(self.files) // 24] for task in range(24)]
        total, distinct, checksum = expected_words(tasks)
        run_of_first = section["rows"][0]["runs"][0]
        self.assertEqual(run_of_first["words"], total)
        self.assertEqual(run_of_first["distinct_words"], distinct)
        self.assertEqual(section["checksum"], checksum)

    def test_hashes_are_right(self):
        for name in ("cpu", "mixed"):
            section = self.sections[name]
            expected = expected_hashes(self.files, section["tasks"], section["hash_bytes"])
            self.assertEqual(section["checksum"], expected)

    def test_of_runaways_only_processes_can_be_stopped(self):
        section = self.sections["runaway"]
        expected = expected_hashes(self.files, 24, section["hash_bytes"], [RUNAWAY])
        self.assertEqual(section["checksum"], expected)
        for row in section["rows"]:
            if row["model"] in STOPPERS:
                self.assertGreaterEqual(row["wall_s"]["min"], 2)
            else:
                self.assertEqual(row["ending"], "cannot", row)
                self.assertRegex(row["why"], "end|listen|killed")
        self.assertIn("1 of these 24 had to be", section["advice"])
        self.assertIn("the price is", section["advice"])

    def test_buffers_are_recoded(self):
        section = self.sections["buffer"]
        expected = sum(expected_buffer(self.files, task) for task in range(24))
        self.assertEqual(section["checksum"], f"{expected:016x}")
        self.assertIn("SharedBuffer in", section["advice"])

    def test_every_client_got_its_answer(self):
        for name in ("wait", "network"):
            expected = sum(task * 2654435761 & 0xFFFFFFFF for task in range(24))
            self.assertEqual(self.sections[name]["checksum"], f"{expected:016x}")

    def test_links_and_pipes_are_left_out(self):
        self.assertEqual(self.report["input"]["files"], len(self.files))
        self.assertEqual(self.report["input"]["unreadable_count"], 0)
        self.assertEqual(
            self.report["input"]["bytes"], sum(os.path.getsize(path) for path in self.files)
        )

    def test_advice_names_a_row_and_its_figures(self):
        for section in self.sections.values():
            labels = {row["model"]: row["label"] for row in section["rows"]}
            self.assertIn(labels[section["choice"]], section["advice"])
            self.assertRegex(section["advice"], r"\d (µs|ms|s)\b")

    def test_table_shows_every_row_and_marks_the_best(self):
        for section in self.sections.values():
            self.assertIn(section["headline"], self.done.stdout)
            for row in section["rows"]:
                self.assertIn(row["label"], self.done.stdout)
        self.assertGreaterEqual(self.done.stdout.count("*"), 5 * 6)
        self.assertNotIn("\033", self.done.stdout)

    def test_progress_in_a_log_is_plain_lines(self):
        self.assertIn("cpu, round 1\n", self.done.stderr)
        self.assertNotIn("\r", self.done.stderr)

    def test_html_needs_nothing_else(self):
        for forbidden in ("http:", "https:", "<script", "<link", "src=", "@import", "url("):
            self.assertNotIn(forbidden, self.html)
        self.assertEqual(self.html.count("<svg"), len(self.sections))
        self.assertEqual(self.html.count("</svg>"), len(self.sections))
        self.assertIn("prefers-color-scheme: dark", self.html)
        for section in self.sections.values():
            for row in section["rows"]:
                self.assertIn(row["label"], self.html)

    def test_html_is_well_formed(self):
        open_tags = []
        body = re.sub(r"<!DOCTYPE html>|<style>.*?</style>|<meta [^>]*>", "", self.html, flags=re.S)
        for slash, name, end in re.findall(r"<(/?)(\w+)[^>]*?(/?)>", body):
            if end:
                continue
            if slash:
                self.assertEqual(open_tags.pop(), name)
            else:
                open_tags.append(name)
        self.assertEqual(open_tags, [])


class Mistakes(unittest.TestCase):
    """The user's: one line that says what is wrong, and status 2."""

    def check(self, *args, says):
        done = run(*args)
        self.assertEqual(done.returncode, 2, done)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(says, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_unknown_option(self):
        self.check("--turbo", says="--turbo")

    def test_unknown_workload(self):
        self.check("--workload", "wait,io", says="'io'")

    def test_unknown_model(self):
        self.check("--models", "goroutines", says="'goroutines'")

    def test_numbers(self):
        self.check("--tasks", "0", says="--tasks")
        self.check("--tasks", "many", says="--tasks")
        self.check("--wait", "-1", says="--wait")
        self.check("--cpu", "0", says="--cpu")
        self.check("--task-limit", "0", says="--task-limit")
        self.check("--buffer", "0", says="--buffer")
        self.check("--workers", "0", says="--workers")
        self.check("--repeat", "0", says="--repeat")

    def test_missing_directory(self):
        self.check("--input", "/no/such/directory", says="/no/such/directory")
        self.check("--workload", "wait", "--input", "/no/such/directory", says="/no/such/directory")

    def test_file_for_a_directory(self):
        self.check("--input", "/dev/null", says="not a directory")

    def test_directory_without_files(self):
        with tempfile.TemporaryDirectory() as empty:
            done = run("--workload", "shared", "--input", empty)
            self.assertEqual(done.returncode, 2)
            self.assertIn("no readable file", done.stderr)

    def test_report_in_a_missing_directory(self):
        self.check("--json", "/no/such/directory/r.json", says="/no/such/directory/r.json")
        self.check("--html", "/no/such/directory/r.html", says="/no/such/directory/r.html")

    def test_help_is_not_a_mistake(self):
        done = run("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ("--workload", "--quick", "--html", "thread-per-task", "py-asyncio", "mixed"):
            self.assertIn(word, done.stdout)


class Trouble(unittest.TestCase):
    """What the machine does to it."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = pathlib.Path(temporary.name)
        self.json = self.base / "r.json"

    def report(self):
        return json.loads(self.json.read_text(encoding="utf-8"))

    def rows(self):
        return {row["model"]: row for row in self.report()["workloads"][0]["rows"]}

    def test_unreadable_file_is_named_and_counted_and_the_rest_goes_on(self):
        tree = self.base / "tree"
        (tree / "locked").mkdir(parents=True)
        (tree / "open").write_text("some words")
        (tree / "secret").write_text("more words")
        (tree / "secret").chmod(0)
        (tree / "locked").chmod(0)
        out = self.base / "out"
        out.mkdir()
        program, identity = PROGRAM, {}
        if os.geteuid() == 0:  # root may read everything, so somebody else has to try
            program = str(self.base / "weft-compare")
            shutil.copy(PROGRAM, program)
            identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            self.base.chmod(0o755)
            os.chown(out, NOBODY, NOBODY)
        done = run("--quick", "--workload", "shared", "--models", "sequential,processes",
                   "--input", tree, "--json", out / "r.json",
                   program=program, cwd="/", **identity)  # fmt: skip
        (tree / "locked").chmod(0o700)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{tree}/secret: Permission denied", done.stderr)
        self.assertIn(f"{tree}/locked: Permission denied", done.stderr)
        self.assertIn("left out 2 unreadable files", done.stderr)
        self.json = out / "r.json"
        self.assertEqual(self.report()["input"]["unreadable_count"], 2)
        self.assertEqual(self.report()["input"]["files"], 1)
        self.assertEqual(self.rows()["sequential"]["runs"][0]["words"], 2)

    def test_full_disk_is_an_error(self):
        wait = ["--quick", "--workload", "wait", "--models", "thread-pool", "--tasks", "4"]
        for option in ("--json", "--html"):
            done = run(*wait, option, "/dev/full")
            self.assertEqual(done.returncode, 1, done)
            self.assertIn("/dev/full: No space left on device", done.stderr)
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = run(*wait, stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left on device", done.stderr)

    def test_size_that_a_model_cannot_do_is_told_in_its_row(self):
        done = run("--workload", "wait", "--models", "sequential,thread-per-task", "--tasks", "400",
                   "--wait", "10", "--limit", "1", "--repeat", "1", "--json", self.json)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.rows()["sequential"]["ending"], "cannot")
        self.assertIn("4.00 s", self.rows()["sequential"]["why"])
        self.assertEqual(self.rows()["thread-per-task"]["ending"], "done")
        self.assertIn("not run: ", done.stdout)

    def test_model_that_takes_too_long_is_stopped(self):
        done = run("--workload", "cpu", "--models", "sequential", "--tasks", "40", "--cpu", "200",
                   "--limit", "0.1", "--repeat", "1", "--input", "/usr/share",
                   "--json", self.json)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("stopped", self.rows()["sequential"]["why"])

    def test_machine_without_python_says_so(self):
        done = run("--quick", "--workload", "wait", "--models", "py-asyncio,thread-pool",
                   "--tasks", "4", "--json", self.json, env={"PATH": str(self.base)})  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.rows()["py-asyncio"]["ending"], "cannot")
        self.assertIn("python3", self.rows()["py-asyncio"]["why"])
        self.assertEqual(self.rows()["thread-pool"]["ending"], "done")

    def start(self, workload="wait"):
        """A long wait, and the model's process when it is there."""
        command = [PROGRAM, "--workload", workload, "--tasks", "2", "--wait", "20000", "--limit", "30",
                   "--repeat", "1", "--models", "thread-per-task,sequential",
                   "--json", self.json]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return process, self.child_of(process, b"--run-model")

    def child_of(self, process, role):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for child in children_of(process.pid):
                if role in command_of(child):
                    return child
            time.sleep(0.01)
        process.kill()
        raise AssertionError(f"no child with {role} was started")

    def await_end_of(self, pid):
        deadline = time.monotonic() + 10
        while command_of(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(command_of(pid), b"")

    def test_crash_costs_one_row(self):
        process, child = self.start()
        os.kill(child, signal.SIGSEGV)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertEqual(self.rows()["thread-per-task"]["ending"], "failed")
        self.assertIn("Segmentation fault", self.rows()["thread-per-task"]["why"])
        self.assertEqual(self.rows()["sequential"]["ending"], "cannot")

    def test_ctrl_c_ends_the_model_too(self):
        process, child = self.start()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertEqual(command_of(child), b"")

    def test_killed_supervisor_leaves_no_model_behind(self):
        process, child = self.start()
        process.kill()
        process.communicate(timeout=10)
        self.await_end_of(child)

    def test_killed_supervisor_leaves_no_runaway_behind(self):
        for model in sorted(STOPPERS):
            # The last of its tasks runs away.
            command = [PROGRAM, "--quick", "--workload", "runaway", "--tasks", "8", "--cpu", "0.1",
                       "--models", model, "--input", "/usr/include", "--task-limit", "50000",
                       "--limit", "60"]  # fmt: skip
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            spinning = self.await_spinner_below(process)
            process.kill()
            process.wait(timeout=10)
            self.await_end_of(spinning)

    def await_spinner_below(self, process):
        """A descendant that has computed for half a second: nothing but the runaway does."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for pid in descendants_of(process.pid):
                if cpu_ticks_of(pid) * 2 > os.sysconf("SC_CLK_TCK"):
                    return pid
            time.sleep(0.02)
        process.kill()
        raise AssertionError("no task ran away")

    def test_killed_supervisor_leaves_no_server_behind(self):
        process, _ = self.start("network")
        server = self.child_of(process, b"--serve")
        process.kill()
        process.communicate(timeout=10)
        self.await_end_of(server)

    def test_dead_server_costs_its_rows(self):
        process, child = self.start("network")
        server = self.child_of(process, b"--serve")
        os.kill(server, signal.SIGKILL)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertEqual(self.rows()["thread-per-task"]["ending"], "failed")
        self.assertRegex(self.rows()["thread-per-task"]["why"], "Connection|cut short")

    def test_every_client_needs_a_descriptor(self):
        done = run("--quick", "--workload", "network", "--tasks", "100", "--json", self.json,
                   # Long enough for all clients to wait at once, also where their threads start slowly.
                   "--models", "asyncio,thread-per-task,py-asyncio,sequential", "--wait", "50",
                   "--limit", "30",
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60)))  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        for model in ("asyncio", "thread-per-task", "py-asyncio"):
            self.assertEqual(self.rows()[model]["ending"], "cannot", model)
            self.assertIn("Too many open files", self.rows()[model]["why"])
        self.assertEqual(self.rows()["sequential"]["ending"], "done")

    def test_terminal_shows_a_bar(self):
        ours, theirs = pty.openpty()
        done = subprocess.run(
            [PROGRAM, "--quick", "--workload", "wait", "--models", "thread-pool", "--tasks", "4"],
            stdout=subprocess.PIPE, stderr=theirs, text=True, check=False, timeout=60)  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # how a terminal says that its other end is closed
            pass
        os.close(ours)
        shown = shown.decode()
        self.assertEqual(done.returncode, 0)
        self.assertIn("░", shown)
        self.assertTrue(shown.endswith("\r\033[K"), shown)


def children_of(pid):
    """Processes whose parent is pid, without need of a kernel that lists them."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == pid:
                    yield int(entry)
        except OSError:
            continue


def descendants_of(pid):
    for child in children_of(pid):
        yield child
        yield from descendants_of(child)


def cpu_ticks_of(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return sum(map(int, file.read().rpartition(b")")[2].split()[11:13]))
    except OSError:
        return 0


def command_of(pid):
    """The command line; empty where the process is gone or only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
