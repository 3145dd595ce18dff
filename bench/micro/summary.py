"""Runs the micro benchmarks in rounds and prints one table of medians, with the yardsticks.

Machines are noisy, and slow down and speed up for minutes. So every program runs for a short while
in each of several rounds, and what is compared (weft and the one beside it) is compared within a
round, a few tenths of a second apart; the median over the rounds of these ratios is what counts.
The ratios are of CPU time: with one worker that never sleeps it is the wall time, less what other
programs took. Called by bench/micro/run, which builds the programs first.
"""

import argparse
import datetime
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

# Seconds for which Google Benchmark repeats one case, and rounds: in full, and with --quick.
FULL = {"min_time": 0.15, "rounds": 9, "slow_rounds": 3}
QUICK = {"min_time": 0.05, "rounds": 3, "slow_rounds": 1}

# These take their time however short the rounds are, and are steadier.
SLOW = {"sleepers", "post", "sleep", "process", "process_python", "thread"}

COUNTERS = ("per_op", "allocs", "sleeps", "bytes", "create", "create_cpu", "late", "late_cpu",
            "p50", "p99")

UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}

# What is added by Google Benchmark to a name: how it measured.
HOW_MEASURED = re.compile(r"/(process_time|real_time|manual_time|iterations:\d+)(?=/|$)")


class Yardstick:
    """A bound on a figure, or on the ratio of a figure to another of the same round."""

    def __init__(self, says, figure, bound, unit="", beside=None, scale=1):
        self.says, self.figure, self.bound = says, figure, bound
        self.unit, self.beside, self.scale = unit, beside, scale

    def measured(self, rounds):
        values = []
        for cases in rounds:
            name, counter = self.figure
            value = cases.get(name, {}).get(counter)
            if value is not None and self.beside is not None:
                other = cases.get(self.beside[0], {}).get(self.beside[1])
                value = value / other if other else None
            if value is not None:
                values.append(value * self.scale)
        return values


YARDSTICKS = [
    Yardstick("spawn+join <= oneTBB's task_group",
              ("spawn_join/create_task/workers:1", "cpu"), 1.0, "x",
              ("spawn_join/tbb/workers:1", "cpu")),
    Yardstick("fib(30) <= a quarter of oneTBB's",
              ("fork_join/fib_create_task/workers:1", "cpu"), 0.25, "x",
              ("fork_join/fib_tbb/workers:1", "cpu")),
    Yardstick("yield <= 2.5 bare round trips",
              ("yield/1000_tasks/workers:1", "cpu"), 2.5, "x",
              ("yield/bare_round_trip", "cpu")),
    Yardstick("1,000,000 sleepers <= 4.6 KiB each",
              ("sleepers/1M/workers:1", "bytes"), 4.6 * 1024, "B"),
    Yardstick("all awake within 1 s of the deadline",
              ("sleepers/1M/workers:1", "late"), 1.0, "s"),
    Yardstick("Mandelbrot by to_arena <= 1.03 of oneTBB's own, on two cores",
              ("arena/mandelbrot_to_arena/workers:2", "per_op"), 1.03, "x",
              ("arena/mandelbrot_tbb/workers:2", "per_op")),
    Yardstick("to_thread on one core <= 1.5 of a futex hand-off",
              ("thread/to_thread_same_core", "p50"), 1.5, "x", ("thread/futex_same_core", "p50")),
    Yardstick("to_thread on two cores <= 1.5 of a futex hand-off",
              ("thread/to_thread_other_core", "p50"), 1.5, "x",
              ("thread/futex_other_core", "p50")),
    Yardstick("to_process and back <= 1.3 round trips of a socketpair",
              ("process/round_trip/task", "p50"), 1.3, "x", ("process/socketpair", "p50")),
    Yardstick("a call in flight <= a third of ProcessPoolExecutor's",
              ("process/in_flight/64", "per_op"), 1 / 3, "x",
              ("process_python/in_flight/64", "per_op")),
    Yardstick("a worker that died is replaced within 1 ms", ("process/respawn", "p50"), 1.0, "ms",
              scale=1e3),
]


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="bench/micro/run", description="weft's micro benchmarks: one table of medians.")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT",
                        help="run only these, as in the first column (spawn_join, yield, ...)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--patience", type=float, default=0, metavar="MINUTES",
                        help="for so long, run again what other programs disturbed")
    parser.add_argument("--programs", metavar="DIR", type=Path, required=True,
                        help=argparse.SUPPRESS)
    return parser.parse_args()


def say(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def find_programs(directory, subjects):
    paths = [*directory.glob("*_bench"), *Path(__file__).parent.glob("*_bench.py")]
    programs = {p.stem.removesuffix("_bench"): p for p in sorted(paths, key=lambda p: p.stem)}
    unknown = [s for s in subjects if s not in programs]
    if unknown:
        sys.exit(f"bench/micro/run: no benchmark called {unknown[0]}; "
                 f"there are: {', '.join(programs)}")
    return {name: p for name, p in programs.items() if not subjects or name in subjects}


class Machine:
    """What other programs take of it while ours run."""

    # More than this much of one core, and a run with several workers says nothing.
    DISTURBED = 0.15

    def __init__(self, patience):
        self.deadline = time.monotonic() + patience
        self.taken = []

    @staticmethod
    def busy_seconds():
        """Of all cores, by all programs but the children of this one that have ended."""
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(field) for field in file.readline().split()[1:]]
        user, nice, system, _, _, irq, softirq = ticks[:7]
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ((user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
                - ours.ru_utime - ours.ru_stime)

    def run(self, command):
        """Runs a program; again, while there is patience, if others have disturbed it."""
        while True:
            start, busy = time.monotonic(), self.busy_seconds()
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True)
            taken = (self.busy_seconds() - busy) / (time.monotonic() - start)
            if taken < self.DISTURBED or time.monotonic() > self.deadline:
                self.taken.append(taken)
                return done
            time.sleep(1)


def run_program(machine, program, min_time, pattern):
    """One short run: {name: {counter: value}}."""
    done = machine.run([str(program), f"--benchmark_min_time={min_time}",
                        "--benchmark_format=json", f"--benchmark_filter={pattern}"])
    if done.returncode != 0:
        sys.exit(f"\nbench/micro/run: {program.name} failed ({done.returncode}):\n{done.stderr}")
    cases = {}
    for case in json.loads(done.stdout or '{"benchmarks": []}')["benchmarks"]:
        if case.get("error_occurred"):
            continue
        name = HOW_MEASURED.sub("", case["name"])
        figures = {"time": case["real_time"] * UNITS[case["time_unit"]]}
        for counter in COUNTERS:
            if counter in case:
                figures[counter] = case[counter]
        if "per_op" in figures and "process_time" in case["name"]:
            figures["cpu"] = figures["per_op"] * case["cpu_time"] / case["real_time"]
        cases[name] = figures
    return cases


def run_all(machine, programs, plan, quick):
    rounds = []
    for number in range(plan["rounds"]):
        cases = {}
        for name, program in programs.items():
            if name in SLOW and number >= plan["slow_rounds"]:
                continue
            say(f"round {number + 1} of {plan['rounds']}: {name}")
            # A million sleepers need 4.5 GB and half a minute.
            pattern = "-1M" if name == "sleepers" and quick else "."
            cases |= run_program(machine, program, plan["min_time"], pattern)
        rounds.append(cases)
    say("")
    return rounds


def summarize(rounds):
    """{name: {counter: {median, mad, min, max, rounds}}}, in the order of the first round."""
    summary = {}
    for name in rounds[0]:
        counters = rounds[0][name].keys()
        summary[name] = {}
        for counter in counters:
            values = [cases[name][counter] for cases in rounds
                      if counter in cases.get(name, {})]
            median = statistics.median(values)
            summary[name][counter] = {
                "median": median,
                "mad": statistics.median(abs(v - median) for v in values),
                "min": min(values), "max": max(values), "rounds": len(values)}
    return summary


def seconds(value):
    for unit, factor in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if abs(value) < 1000 * factor:
            number = value / factor
            digits = 2 if number < 10 else 1 if number < 100 else 0
            return f"{number:.{digits}f} {unit}"
    return f"{value:.2f} s"


def count(value):
    return "0" if abs(value) < 5e-5 else f"{value:.2g}"


def rows_of(name, counters):
    """The lines of the table for one case: [name, median, spread, least, CPU time, counts]."""
    def row(label, counter, counts="", cpu="cpu"):
        c = counters[counter]
        spread = f"± {seconds(c['mad'])}" if c["rounds"] > 1 else ""
        least = seconds(c["min"]) if c["rounds"] > 1 else ""
        cpu = seconds(counters[cpu]["median"]) if cpu in counters else ""
        return [label, seconds(c["median"]), spread, least, cpu, counts]

    if "p50" in counters:
        return [row(f"{name} {p}", p) for p in ("p50", "p99")]
    if "late" in counters:
        size = f"{counters['bytes']['median'] / 1024:.2f} KiB a task"
        return [row(f"{name} create", "create", size, "create_cpu"),
                row(f"{name} late", "late", "", "late_cpu")]
    if "per_op" not in counters:
        return [row(name, "time")]
    if "allocs" not in counters:
        return [row(name, "per_op")]
    counts = f"{count(counters['allocs']['median'])} allocs"
    if not name.endswith("workers:1"):
        counts += f", {count(counters['sleeps']['median'])} sleeps"
    return [row(name, "per_op", counts)]


def print_table(summary):
    rows = [["an operation of", "median", "spread", "least", "CPU", "counts an operation"]]
    for name, counters in summary.items():
        rows += rows_of(name, counters)
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    subject = ""
    for row in rows:
        if row[0].split("/")[0] != subject:
            subject = row[0].split("/")[0]
            print()
        print(f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  "
              f"{row[3]:>{widths[3]}}  {row[4]:>{widths[4]}}  {row[5]}".rstrip())


def judge(rounds):
    verdicts = []
    for yardstick in YARDSTICKS:
        values = yardstick.measured(rounds)
        if not values:
            continue
        median = statistics.median(values)
        verdicts.append({"says": yardstick.says, "median": median, "min": min(values),
                         "max": max(values), "bound": yardstick.bound, "unit": yardstick.unit,
                         "reached": median <= yardstick.bound})
    return verdicts


def print_verdicts(verdicts):
    if not verdicts:
        return
    print("\nyardsticks (one worker; ratios of CPU time within a round)")
    for v in verdicts:
        digits = 0 if v["unit"] == "B" else 2
        figure = f"{v['median']:.{digits}f} {v['unit']}"
        span = f"({v['min']:.{digits}f} to {v['max']:.{digits}f})"
        word = "reached" if v["reached"] else "NOT reached"
        print(f"  {v['says']:<38} {figure:>9}  {span:<18} {word}")


def describe_machine():
    cpu = "unknown processor"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {"date": datetime.date.today().isoformat(), "cpu": cpu,
            "cores": len(os.sched_getaffinity(0)), "kernel": platform.release()}


def main():
    options = parse_arguments()
    plan = dict(QUICK if options.quick else FULL)
    if options.rounds is not None:
        plan["rounds"] = plan["slow_rounds"] = max(1, options.rounds)
    programs = find_programs(options.programs, options.subjects)
    if not programs:
        sys.exit(f"bench/micro/run: there are no programs in {options.programs}")
    about = describe_machine()
    print(f"weft, micro benchmarks, {about['date']}: {about['cores']} cores "
          f"({about['cpu']}), Linux {about['kernel']}, {plan['rounds']} rounds", flush=True)
    machine = Machine(60 * options.patience)
    rounds = run_all(machine, programs, plan, options.quick)
    about["others"] = statistics.median(machine.taken)
    disturbed = sum(taken >= Machine.DISTURBED for taken in machine.taken)
    summary, verdicts = summarize(rounds), judge(rounds)
    print_table(summary)
    print_verdicts(verdicts)
    if disturbed > 0:
        print(f"\n{disturbed} of {len(machine.taken)} runs were disturbed: other programs took "
              f"{about['others']:.2f} cores (median). Wall times, and all with more than one "
              "worker, are too long; CPU times less so.")
    if options.json:
        result = {"machine": about, "plan": plan, "cases": summary, "yardsticks": verdicts}
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
