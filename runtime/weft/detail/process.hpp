// The door between the interface of the process offload (api/weft/process.hpp) and its engine
// (runtime/process/).
//
// Above it are the user's types: archives, exceptions, templates. Below it are bytes and processes.
// A call goes down as the address of a function and a block of bytes, and comes back as a
// ProcessReply. In the worker process the same address and bytes come up again through a
// ProcessHandler.
// Not for users.
// Thread rules: run_in_process() from any task or thread; the handler runs in a worker's main
// thread.
#pragma once

#include <weft/detail/process_limits.hpp>
#include <weft/detail/shared_memory.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <sys/types.h>

namespace weft::rt::process {
class Pool;
}

namespace weft::detail {

struct OffloadCall;

/// Bytes for or from another process, owned: a block of malloc's or a mapping.
class ProcessBytes {
public:
    enum class Origin : std::uint8_t { malloc, mmap };

    ProcessBytes() = default;
    ProcessBytes(const std::byte* data, std::size_t size, Origin origin) noexcept
        : data_(data), size_(size), origin_(origin) {}
    ProcessBytes(ProcessBytes&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)),
          origin_(other.origin_) {}
    ProcessBytes& operator=(ProcessBytes&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(origin_, other.origin_);
        return *this;
    }
    ~ProcessBytes() {
        if (data_ != nullptr) release();
    }

    std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

private:
    void release() noexcept;

    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    Origin origin_ = Origin::malloc;
};

/// The bytes in front of a call's arguments that the engine fills.
inline constexpr std::size_t kProcessCallHeadroom = 48;
/// And those that follow, of a call without context variables; no argument's room is lost to them.
inline constexpr std::size_t kProcessCallExtra = 16;

enum class ProcessEnding : std::uint8_t {
    value,             ///< `bytes` is the result
    exception,         ///< `bytes` is the exception
    worker_died,       ///< `pid`, `wait_status`; `text` says why it was killed, if weft did it
    unknown_function,  ///< `text`
    not_run,           ///< `text`, `error`: nothing could be started, or sent
    answer_lost,       ///< `text`, `error`: it ran, but its result could not be sent or taken
    queue_full,        ///< it has not been taken; `text` is the pool's name
    closed,            ///< the pool has been shut down; `text` is its name
    foreign,           ///< the pool belongs to the process that this one was forked from
};

struct ProcessReply {
    ProcessEnding ending = ProcessEnding::closed;
    int wait_status = 0;
    int error = 0;
    pid_t pid = 0;
    unsigned kills = 0;  ///< workers that have died of the call, where it was run more than once
    ProcessBytes bytes;
    ArrivedFiles memories;  ///< of a value
    std::string text;
    std::string stderr_tail;  ///< with worker_died
};

/// Whether a call may be run again when its worker has died in the middle.
enum class Repeatable : std::uint8_t { no, yes };

/// Sends `message` (headroom, then arguments), and the memories if there are any, to a worker that
/// calls the code's handler with it, and waits for what comes back. A cancel takes the call back: it
/// does not start, or its worker is killed. Throws CancelledError; std::system_error where the pool
/// cannot begin.
ProcessReply run_in_process(rt::process::Pool& pool, const void* code, std::span<std::byte> message,
                            const SharedMemoryList* memories, Repeatable repeatable);

/// A function that a pool runs on its own account, as a ProcessHandler takes it.
struct ProcessStep {
    const void* code = nullptr;  ///< null: none
    std::string_view name;       ///< of static storage
};

/// What a pool is made with; see weft::ProcessPoolOptions.
struct ProcessPoolSetup {
    std::string name{};
    unsigned workers = 1;
    std::size_t length_max = 0;  ///< of a frame's body
    std::size_t queue_max = SIZE_MAX;
    unsigned retry = 0;
    Escalation escalation{};
    ProcessLimits limits{};
    SystemCalls system_calls{};
    ProcessStep preload{};
    ProcessStep initializer{};
};
/// Throws UsageError where a step's code lies in nothing that another process could load.
rt::process::Pool* make_process_pool(const ProcessPoolSetup& setup);
void destroy_process_pool(rt::process::Pool* pool) noexcept;
/// `abandon`: those who wait are left as they are, since the program is ending.
void shut_down_process_pool(rt::process::Pool& pool, bool abandon) noexcept;

/// Refuses calls from now on, and waits until those that are there have ended; false where the
/// deadline came first. Throws CancelledError.
bool drain_process_pool(rt::process::Pool& pool, std::chrono::steady_clock::time_point deadline);

struct ProcessPoolFigures {
    unsigned workers = 0;        ///< that live, or are being started
    unsigned idle = 0;           ///< of these
    std::size_t queued = 0;      ///< calls that no worker has yet
    std::size_t running = 0;     ///< calls that a worker has
    std::uint64_t calls = 0;     ///< handed in and not refused, since the pool was made
    std::uint64_t refused = 0;   ///< for a full queue
    std::uint64_t retried = 0;   ///< runs of a call after its first
    std::uint64_t kept = 0;      ///< workers that were asked to give up a call, and did in time
    std::uint64_t started = 0;   ///< workers
    std::uint64_t died = 0;      ///< workers, killed ones included
    std::uint64_t recycled = 0;  ///< of these, replaced because of ProcessLimits
    /// How long calls have waited for a worker: all of them together, and the one that waited
    /// longest. A call counts once it has got its worker.
    std::chrono::nanoseconds queue_time{};
    std::chrono::nanoseconds queue_time_max{};
    /// How long workers have had their calls, from the sending to the answer or the end.
    std::chrono::nanoseconds run_time{};
    std::chrono::nanoseconds run_time_max{};
};
ProcessPoolFigures process_pool_figures(const rt::process::Pool& pool) noexcept;

/// The processors this process may use.
unsigned process_pool_default_workers() noexcept;

/// What a handler makes of a call.
struct ProcessAnswer {
    enum class Kind : std::uint8_t { value, exception };
    Kind kind = Kind::value;
    ProcessBytes bytes;
    std::unique_ptr<SharedMemoryList> memories;  ///< of a value; may be none
};
/// In a worker: `code` as run_in_process() had it (at this process's address), the arguments, and
/// how many bytes an answer may have. For a ProcessStep there are no arguments, and the answer is a
/// text that says what went wrong; empty: nothing.
using ProcessHandler = void (*)(const void* code, std::span<const std::byte> arguments,
                                ArrivedFiles& memories, std::size_t bytes_max,
                                ProcessAnswer& answer) noexcept;

/// In a worker, by a handler: runs the call on this thread, in context variables of its own. It is
/// asked to stop when its caller has gone and the pool's Escalation says so.
void run_in_worker(OffloadCall& call) noexcept;

/// At the start of main. Returns in an ordinary start of the program, and never in a fork server of
/// it.
void enter_main(char** argv, ProcessHandler handler);
/// Whether enter_main() has been called: without it no fork server can be made of this program.
bool main_is_wrapped() noexcept;

}  // namespace weft::detail
