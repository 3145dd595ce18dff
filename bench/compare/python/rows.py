R"""(
The work of weft-compare under CPython's asyncio, threading and multiprocessing.

This file is Python, and it is a C++ string as well: python.cpp includes it, and to C++ all from the first line's
bracket to the last line's is one raw string. So the program is embedded without a build step.

Run as `rows.py MODEL PLAN` by weft-compare. Reads the plan (see plan.hpp), does
all tasks, and prints one line of JSON with the same figures as child.cpp. The tasks compute the same numbers as
workload.cpp; the two must be changed together.
"""

import asyncio
import collections
import concurrent.futures
import ctypes
import errno
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import socket
import sys
import threading
import time
import zlib

MASK = 2**64 - 1
TILE_BYTES = 64 * 1024
CODE = bytes((i * 167 + 13) & 255 for i in range(256))
BEAT_NS = 1_000_000
SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.EADDRNOTAVAIL)


class Plan:
    def __init__(self, path):
        with open(path, "rb") as file:
            head, _, names = file.read().partition(b"\n")
        vars(self).update(json.loads(head))
        self.files = names.split(b"\0")[:-1]
        self.wait_s = self.wait_ms / 1000
        self.task_limit_s = self.task_limit_ms / 1000

    def path_of(self, task):
        count = len(self.files)
        return self.files[task * count // self.tasks if self.tasks < count else task % count]

    def is_runaway(self, task):
        return self.workload == "runaway" and task % 50 == 7


def wait_result(task):
    return task * 2654435761 & 0xFFFFFFFF


def gave_up_result(task):
    return task * 2246822519 & 0xFFFFFFFF


def read_file(path):
    """The file's bytes; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def hash_file(plan, task):
    content = read_file(plan.path_of(task))
    if content is None:
        return None
    content = content or b"\0"
    tile = content * -(-TILE_BYTES // len(content))
    digest = hashlib.sha256()
    for _ in range(max(1, (plan.hash_bytes + len(tile) // 2) // len(tile))):
        digest.update(tile)
    return int.from_bytes(digest.digest()[:8], "big")


def filled_buffer(plan, task):
    content = read_file(plan.path_of(task))
    if content is None:
        return None
    content = content or b"\0"
    return (content * -(-plan.buffer_bytes // len(content)))[: plan.buffer_bytes]


def recode(data):
    for _ in range(4):
        data = data.translate(CODE)
    return data


def result_of_buffer(data):
    return zlib.crc32(data[::509])


def recode_buffer(plan, task):
    data = filled_buffer(plan, task)
    return None if data is None else result_of_buffer(recode(data))


def request(port, task):
    with socket.create_connection(("127.0.0.1", port)) as server:
        server.sendall(b"%d\n" % task)
        answer = b""
        while part := server.recv(64):
            answer += part
        return int(answer)


class LagLog:
    """A heartbeat's fixed timetable: every beat due by now is booked with its own lateness (see measure.hpp)."""

    def __init__(self):
        self.late_ns = []
        self.due = time.monotonic_ns() + BEAT_NS

    def beat(self):
        now = time.monotonic_ns()
        self.late_ns.extend(range(now - self.due, -1, -BEAT_NS))
        self.due += max(0, (now - self.due) // BEAT_NS + 1) * BEAT_NS
        return max(0, self.due - now) / 1e9

    def summary(self):
        if not self.late_ns:
            return None
        late = sorted(self.late_ns)
        p99 = (len(late) * 99 + 99) // 100 - 1
        return {"p99_ms": late[p99] / 1e6, "max_ms": late[-1] / 1e6, "beats": len(late)}


class Run:
    def __init__(self, plan):
        self.plan = plan
        self.results = [0] * plan.tasks
        self.words = collections.Counter()
        self.lock = threading.Lock()
        self.cpu = cpu_s(resource.RUSAGE_SELF)
        # Not 0 where "python3" is a script that asks other programs which Python to become.
        self.children_cpu = cpu_s(resource.RUSAGE_CHILDREN)
        self.start = time.monotonic()
        self.wall = None
        self.lag = LagLog()

    def stop_clock(self):
        self.wall = time.monotonic() - self.start
        self.cpu = cpu_s(resource.RUSAGE_SELF) - self.cpu
        self.peak = peak_resident_bytes()

    def report(self):
        checksum = sum(zlib.crc32(word) * count for word, count in self.words.items())
        checksum += sum(result or 0 for result in self.results)
        bad = [task for task, result in enumerate(self.results) if result is None]
        return {
            "wall_s": self.wall,
            "cpu_s": self.cpu + cpu_s(resource.RUSAGE_CHILDREN) - self.children_cpu,
            "peak_bytes": self.peak,
            "checksum": f"{checksum & MASK:016x}",
            "words": sum(self.words.values()),
            "distinct_words": len(self.words),
            "unreadable": len(bad),
            "unreadable_names": [os.fsdecode(self.plan.path_of(task)) for task in bad[:5]],
            "lag": self.lag.summary(),
        }


def cpu_s(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def peak_resident_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def run_asyncio(run):
    """One event loop; what is not a wait blocks it. No lock: nothing runs between two waits."""
    plan = run.plan

    async def task(i):
        if plan.workload == "wait":
            await asyncio.sleep(plan.wait_s)
            run.results[i] = wait_result(i)
        elif plan.workload == "network":
            reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
            writer.write(b"%d\n" % i)
            run.results[i] = int(await reader.read())
            writer.close()
        elif plan.workload == "shared":
            content = read_file(plan.path_of(i))
            run.words.update((content or b"").split())
            run.results[i] = None if content is None else 0
        elif plan.workload == "cpu":
            run.results[i] = hash_file(plan, i)
        elif plan.workload == "buffer":
            run.results[i] = recode_buffer(plan, i)
        else:
            await asyncio.sleep(plan.wait_s)
            run.results[i] = hash_file(plan, i)
            await asyncio.sleep(plan.wait_s)

    async def heartbeat():
        while True:
            await asyncio.sleep(run.lag.beat())

    async def main():
        beating = asyncio.create_task(heartbeat())
        await asyncio.gather(*(task(i) for i in range(plan.tasks)))
        run.stop_clock()
        await asyncio.sleep(0)
        run.lag.beat()
        beating.cancel()

    asyncio.run(main())


def blocking_task(plan, i):
    """One task as blocking code; for the shared count its words instead of a number."""
    if plan.workload == "wait":
        time.sleep(plan.wait_s)
        return wait_result(i)
    if plan.workload == "network":
        return request(plan.port, i)
    if plan.workload == "shared":
        content = read_file(plan.path_of(i))
        return None if content is None else collections.Counter(content.split())
    if plan.workload == "buffer":
        return recode_buffer(plan, i)
    if plan.workload in ("cpu", "runaway"):
        while plan.is_runaway(i):
            pass
        return hash_file(plan, i)
    time.sleep(plan.wait_s)
    result = hash_file(plan, i)
    time.sleep(plan.wait_s)
    return result


class ThreadHeartbeat:
    def __init__(self, lag):
        self.lag = lag
        self.stop = False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop:
            time.sleep(self.lag.beat())
        self.lag.beat()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *error):
        self.stop = True
        self.thread.join()


def run_threading(run):
    plan = run.plan

    def task(i):
        result = blocking_task(plan, i)
        if plan.workload == "shared" and result is not None:
            with run.lock:
                run.words.update(result)
            result = 0
        run.results[i] = result

    with ThreadHeartbeat(run.lag), concurrent.futures.ThreadPoolExecutor(plan.pool) as pool:
        for _ in pool.map(task, range(plan.tasks)):
            pass
        run.stop_clock()


def process_task(i):
    return i, blocking_task(process_task.plan, i)


def process_buffer(question):
    i, data = question
    return i, None if data is None else recode(data)


def run_multiprocessing(run):
    plan = run.plan
    if plan.workload == "runaway":
        run_limited_processes(run)
        return
    process_task.plan = plan  # the workers are forked, before any thread is started, and so have it
    pool = multiprocessing.get_context("fork").Pool(plan.workers)
    with ThreadHeartbeat(run.lag):
        if plan.workload == "buffer":
            # Its thread takes the next question when the pipe has room: so they are not all filled at once.
            buffers = ((i, filled_buffer(plan, i)) for i in range(plan.tasks))
            answers = pool.imap_unordered(process_buffer, buffers)
        else:
            answers = pool.imap_unordered(process_task, range(plan.tasks))
        for i, result in answers:
            if plan.workload == "buffer" and result is not None:
                result = result_of_buffer(result)
            if isinstance(result, dict):
                run.words.update(result)
                result = 0
            run.results[i] = result
        run.stop_clock()
    pool.close()
    pool.join()


def answer_task(sender, plan, i):
    # daemon=True ends it where its parent ends, but not where that is killed.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    sender.send(blocking_task(plan, i))


def run_limited_processes(run):
    """A process for each task, as many at once as cores: a Pool cannot end one call, only all of them."""
    plan = run.plan
    context = multiprocessing.get_context("fork")
    left = iter(range(plan.tasks))
    running = {}  # by the connection on which the task's result comes

    def start(i):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=answer_task, args=(sender, plan, i), daemon=True)
        process.start()
        sender.close()
        running[receiver] = i, process, time.monotonic() + plan.task_limit_s

    def take(receiver, answered):
        i, process, due = running[receiver]
        if not answered and time.monotonic() < due:
            return
        del running[receiver]
        if answered:
            run.results[i] = receiver.recv()
        else:
            process.kill()
            run.results[i] = gave_up_result(i)
        process.join()
        receiver.close()
        if not answered and not plan.is_runaway(i):
            raise RuntimeError(f"on a machine this busy {plan.task_limit_ms:g} ms is too short a limit: task {i} ends")

    with ThreadHeartbeat(run.lag):
        for i in range(min(plan.workers, plan.tasks)):
            start(next(left))
        while running:
            patience = max(0, min(due for _, _, due in running.values()) - time.monotonic())
            ready = multiprocessing.connection.wait(list(running), patience)
            for receiver in list(running):
                take(receiver, receiver in ready)
            while len(running) < plan.workers and (i := next(left, None)) is not None:
                start(i)
        run.stop_clock()


def main():
    models = {
        "py-asyncio": run_asyncio,
        "py-threading": run_threading,
        "py-multiprocessing": run_multiprocessing,
    }
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    run = Run(Plan(sys.argv[2]))
    try:
        models[sys.argv[1]](run)
        report = run.report()
    except MemoryError:
        report = {"cannot": "out of memory"}
    except RuntimeError as error:  # "can't start new thread"
        report = {"cannot": str(error)}
    except OSError as error:
        if error.errno not in SHORTAGES:
            raise
        report = {"cannot": str(error)}
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()

# The end of the C++ string: )"""
