// What a worker process may take and do, and how it is made to end.
// Thread rules: none; values.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace weft::detail {

/// What a worker process may take, and how long it is kept. 0: as much as the program may, and for
/// ever.
struct ProcessLimits {
    /// Its address space, that of the program's image included (RLIMIT_AS), and with
    /// Escalation::ask that of a thread. Beyond it allocations fail: a call that lets std::bad_alloc out fails with that, and the worker lives on.
    std::uint64_t address_space_bytes = 0;
    /// Processor time of one call, or of the initializer, all threads together, in whole seconds
    /// rounded up (RLIMIT_CPU). Beyond it SIGXCPU kills the worker, and the call fails with
    /// WorkerDied. More than 2^33 is none.
    std::uint64_t cpu_seconds = 0;
    /// Descriptors (RLIMIT_NOFILE); a worker has five of its own.
    std::uint64_t open_files = 0;
    /// Processes and threads, counted by the kernel over all that the worker's user has
    /// (RLIMIT_NPROC): so what a worker starts has an end, best where an initializer has made
    /// another user of it. Does not bind root. 1 is none besides.
    std::uint64_t processes = 0;
    /// It is replaced after that many calls.
    std::uint64_t calls = 0;
    /// It is replaced after a call that leaves it with so much more memory in use (resident) than
    /// it had before its first. Costs each call about 10 us.
    std::uint64_t growth_bytes = 0;
};

/// How a call that was cancelled, or ran into a timeout, is made to end: asked, then told, then
/// killed. Its caller does not wait for any of that: it goes on at once. 0 skips a step; a day at
/// most.
struct Escalation {
    // The ask is SIGRTMAX, queued: it is weft's in a worker that may be asked, and ignored in what
    // such a worker starts. A second thread of the worker's waits for it, from before the
    // initializer on.
    /// Asked to give up, through the std::stop_token that the function takes first if it wants one,
    /// and by CancelledError out of weft::checkpoint() in it: so long until the next step. A worker
    /// that comes to the end of its call in that time is kept, with all that it has made; until
    /// then it takes no other call, and nobody else its place.
    std::chrono::milliseconds ask{};
    /// From SIGTERM, which ends a worker unless it has a handler of its own, to SIGKILL. Another
    /// worker has its place meanwhile. At most as many as the pool's workers are given that time;
    /// where there are more, the oldest is killed.
    std::chrono::milliseconds terminate{};
};

/// The system calls that a worker may make: all, or a list of its own (seccomp).
class SystemCalls {
public:
    /// Numbers beyond have no meaning on any machine that weft runs on.
    static constexpr int kNumbersEnd = 512;

    /// All of them.
    constexpr SystemCalls() noexcept = default;

    /// Those that computing in the worker's own thread takes (memory, clocks, mutexes, what is
    /// already open, signals to itself, the worker's answers), and these:
    /// `weft::SystemCalls::only({SYS_openat, SYS_getdents64})`. To start a thread (oneTBB, OpenMP)
    /// it needs SYS_clone3 and SYS_clone, and more. One that is listed is allowed with all that it
    /// can be asked.
    /// @throws  std::invalid_argument for a number that no system call has
    static SystemCalls only(std::initializer_list<int> numbers);

    constexpr bool are_all() const noexcept { return all_; }
    /// Whether it is listed.
    constexpr bool contain(int number) const noexcept {
        if (all_) return true;
        auto bit = static_cast<unsigned>(number);
        return bit < kNumbersEnd && (listed_[bit / 64] >> (bit % 64) & 1) != 0;
    }

private:
    bool all_ = true;
    std::array<std::uint64_t, kNumbersEnd / 64> listed_{};
};

}  // namespace weft::detail
