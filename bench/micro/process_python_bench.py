#!/usr/bin/env python3
"""What does it cost to leave the process in Python?

  process_python/round_trip     64 bytes through ProcessPoolExecutor and back, one call at a time
  process_python/in_flight/64   64 such calls under way, on two worker processes: the time per call
  process_loky/...              the same by joblib's loky, where Python has it

It takes the arguments of the programs beside it, and prints JSON as they do.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import re
import sys
import threading
import time

CALLS = 2000
MESSAGE = bytes(64)


def echo(message):
    return message


def stdlib_pool(workers):
    return concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("forkserver"))


def loky_pool(workers):
    from joblib.externals.loky import ProcessPoolExecutor
    return ProcessPoolExecutor(workers)


def has_loky():
    try:
        import joblib.externals.loky  # noqa: F401
        return True
    except ImportError:
        return False


def round_trip(pool, min_time):
    latencies = []
    end = time.perf_counter() + min_time
    while time.perf_counter() < end or len(latencies) < 100:
        begin = time.perf_counter()
        pool.submit(echo, MESSAGE).result()
        latencies.append(time.perf_counter() - begin)
    latencies.sort()
    return {"real_time": sum(latencies) / len(latencies), "p50": latencies[len(latencies) // 2],
            "p99": latencies[len(latencies) * 99 // 100]}


def in_flight(pool, min_time):
    """Always 64 calls under way: each that ends is followed by the next, from where it is heard of."""
    calls = 0
    began = time.perf_counter()
    while time.perf_counter() < began + min_time or calls == 0:
        left = threading.Semaphore(64)
        futures = []
        for _ in range(CALLS):
            left.acquire()
            futures.append(pool.submit(echo, MESSAGE))
            futures[-1].add_done_callback(lambda _: left.release())
        concurrent.futures.wait(futures)
        calls += CALLS
    per_call = (time.perf_counter() - began) / calls
    return {"real_time": per_call, "per_op": per_call}


def cases():
    for name, make in [("process_python", stdlib_pool), ("process_loky", loky_pool)]:
        if make is loky_pool and not has_loky():
            continue
        yield f"{name}/round_trip", make, 1, round_trip
        yield f"{name}/in_flight/64", make, 2, in_flight


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmark_min_time", type=float, default=0.5)
    parser.add_argument("--benchmark_format", choices=["json"], default="json")
    parser.add_argument("--benchmark_filter", default="")
    options = parser.parse_args()
    measured = []
    for name, make, workers, measure in cases():
        if not re.search(options.benchmark_filter, name):
            continue
        with make(workers) as pool:
            list(pool.map(echo, [MESSAGE] * 100))  # its processes are there
            figures = measure(pool, options.benchmark_min_time)
        measured.append({"name": name, "time_unit": "us", "cpu_time": 0.0, **figures,
                         "real_time": figures["real_time"] * 1e6})
    json.dump({"context": {"python": sys.version}, "benchmarks": measured}, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
