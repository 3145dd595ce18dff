#!/usr/bin/env python3
"""Runs the tutorial's programs in one mode and checks what they print and how long they take.

usage: run_tutorial.py MODE DIRECTORY [NAME ...]      e.g. run_tutorial.py strict build/dev/docs

  strict      one worker, asyncio's order, the real clock: stdout is what Python prints, byte for
              byte, and the time is the one the tutorial says, up to one second more (for where
              the real clock decides, see EqualSleeps)
  virtual     the same order on virtual time: stdout byte for byte, and exactly the time
  workers     two workers on the real clock: the same lines in any order
  simulated   two virtual workers, several seeds: the same lines in any order, exactly the time

DIRECTORY has the programs, tutorial_NAME each. Without names it is all of them, at once: they
mostly sleep.
"""
import concurrent.futures
import dataclasses
import difflib
import os
import pathlib
import re
import subprocess
import sys
import time

WATCHDOG_S = 60
SLACK_S = 1.0
SIMULATED_SEEDS = range(1, 11)
SIMULATION_END = re.compile(r"weft: simulation with seed (\d+) ended at (\d+\.\d{6}) s")
# What weft says about the machine, and not about the program.
NOTICE = re.compile(r"weft: this kernel .*|weft: .* canaries")
EXPECTED = pathlib.Path(__file__).resolve().parent / "expected"


@dataclasses.dataclass
class EqualSleeps:
    """Two tasks begin to sleep for the same time, one just after the other: on the real clock it
    depends on what the machine did in between whether the first one's successors run before the
    second one wakes, in Python too. What holds there: lines with the same first word keep their
    order, and never more than `at_once` tasks are between `enters` and `leaves`."""
    enters: bytes
    leaves: bytes
    at_once: int


@dataclasses.dataclass
class Program:
    """seconds is the sum or the maximum of the delays, as the tutorial says."""
    seconds: float
    virtual_seconds: float | None = None  # None: the same; for real work the clock stands still
    calls_run: bool = True
    stderr_line: str | None = None        # stderr has exactly one line with this; None: no line
    equal_sleeps: EqualSleeps | None = None


PROGRAMS = {
    "01_coroutine_object": Program(0),
    "02_await": Program(2),
    "03_await_late": Program(2),
    "04_sequential": Program(2 + 2),
    "05_create_task": Program(max(2, 3, 1)),
    "06_await_between": Program(max(2, 3) + 1),
    "07_gather": Program(max(2, 1, 3)),
    "08_gather_error": Program(max(1, 2)),
    "09_task_group": Program(max(2, 1, 3)),
    "10_task_group_error": Program(1),
    "11_future": Program(2),
    "12_lock": Program(5 * 1),
    "13_semaphore": Program(3, equal_sleeps=EqualSleeps(b"accessing", b"releasing", at_once=2)),
    "14_event": Program(2),
    "15_condition": Program(2 * 0.5),
    "16_never_awaited": Program(
        0, calls_run=False, stderr_line="coroutine 'main' was never awaited"),
    "17_offload": Program(1, virtual_seconds=0),
}
MODES = {
    "strict": [{"WEFT_STRICT": "1"}],
    "virtual": [{"WEFT_STRICT": "1", "WEFT_SEED": "1"}],
    "workers": [{"WEFT_WORKERS": "2"}],
    "simulated": [{"WEFT_WORKERS": "2", "WEFT_SEED": str(seed)} for seed in SIMULATED_SEEDS],
}


def run(path, settings):
    """Runs the program with no other WEFT_ variables; gives stdout, stderr, elapsed, exit status."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WEFT_")}
    start = time.monotonic()
    try:
        done = subprocess.run([path], env=environment | settings, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=WATCHDOG_S, check=False)
    except OSError as error:
        return b"", b"", 0.0, error
    except subprocess.TimeoutExpired as stuck:
        return stuck.stdout or b"", stuck.stderr or b"", time.monotonic() - start, "none"
    return done.stdout, done.stderr, time.monotonic() - start, done.returncode


def stdout_faults(got, expected, any_order):
    if any_order:
        got, expected = (b"".join(sorted(text.splitlines(True))) for text in (got, expected))
    if got != expected:
        lines = [text.decode(errors="backslashreplace").splitlines() for text in (expected, got)]
        yield "\n    ".join(["stdout differs:",
                             *difflib.unified_diff(*lines, "expected", "got", lineterm="")])


def equal_sleeps_faults(got, expected, sleeps):
    def by_first_word(text):
        return b"".join(sorted(text.splitlines(True), key=lambda line: line.split()[:1]))
    yield from stdout_faults(by_first_word(got), by_first_word(expected), any_order=False)
    inside = 0
    for line in got.splitlines():
        inside += line.startswith(sleeps.enters) - line.startswith(sleeps.leaves)
        if not 0 <= inside <= sleeps.at_once:
            yield f"{inside} tasks are inside after {line.decode(errors='backslashreplace')!r}"


def stderr_faults(lines, wanted):
    if wanted is None and lines:
        yield "\n    ".join(["stderr is not empty:", *lines])
    if wanted is not None and sum(wanted in line for line in lines) != 1:
        yield "\n    ".join([f"stderr has not exactly one line with {wanted!r}:", *lines])


def faults(mode, name, directory, settings):
    program = PROGRAMS[name]
    stdout, stderr, elapsed, status = run(directory / f"tutorial_{name}", settings)
    lines = stderr.decode(errors="backslashreplace").splitlines()
    ends = [match.groups() for line in lines if (match := SIMULATION_END.fullmatch(line))]
    lines = [line for line in lines
             if not SIMULATION_END.fullmatch(line) and not NOTICE.fullmatch(line)]

    if status != 0:
        yield f"exit status {status}"
    expected = (EXPECTED / f"{name}.out").read_bytes()
    if mode == "strict" and program.equal_sleeps is not None:
        yield from equal_sleeps_faults(stdout, expected, program.equal_sleeps)
    else:
        yield from stdout_faults(stdout, expected, any_order="WEFT_STRICT" not in settings)
    yield from stderr_faults(lines, program.stderr_line)
    expected_ends = []
    if "WEFT_SEED" in settings and program.calls_run:
        seconds = program.seconds if program.virtual_seconds is None else program.virtual_seconds
        expected_ends = [(settings["WEFT_SEED"], f"{seconds:.6f}")]
    if ends != expected_ends:
        yield f"simulations that ended (seed, seconds): {ends}, expected: {expected_ends}"
    if mode == "strict" and not 0 <= elapsed - program.seconds <= SLACK_S:
        yield f"took {elapsed:.3f} s instead of {program.seconds} s up to {SLACK_S} s more"


def check(mode, name, directory):
    """Runs one program with each setting of the mode; gives a report, and whether all is well.

    Of the seeds only two where virtual time saves none.
    """
    does_real_work = PROGRAMS[name].virtual_seconds is not None
    report = []
    for settings in MODES[mode][:2 if does_real_work else None]:
        words = " ".join(f"{variable}={value}" for variable, value in settings.items())
        report += [f"FAILED {words} {name}: {fault}"
                   for fault in faults(mode, name, directory, settings)]
    return report or [f"ok {mode} {name}"], not report


def main(arguments):
    if len(arguments) < 2 or arguments[0] not in MODES or not set(arguments[2:]) <= set(PROGRAMS):
        print(__doc__, file=sys.stderr)
        return 2
    mode, directory, names = arguments[0], pathlib.Path(arguments[1]), arguments[2:] or PROGRAMS
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        results = list(pool.map(lambda name: check(mode, name, directory), names))
    for report, _ in results:
        print("\n".join(report))
    return 0 if all(well for _, well in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
