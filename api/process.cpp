// The slow paths of <weft/process.hpp>: what a call's end means, the shared pool, and a call as the
// worker sees it.
#include <weft/detail/engine.hpp>
#include <weft/detail/offload_call.hpp>
#include <weft/lowlevel.hpp>
#include <weft/process.hpp>
#include <weft/time.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

#include <sys/wait.h>

#include "process_errors.hpp"

namespace weft {

namespace {

constexpr unsigned kWorkersMax = 1024;
constexpr std::chrono::hours kPatienceMax{24};
/// An exception must fit.
constexpr std::size_t kSmallestLimit = 64 * 1024;
static_assert(detail::kExceptionBytesMax < kSmallestLimit);

/// More than memory can be, and room for what is added to it.
constexpr std::size_t kLargestLimit = PTRDIFF_MAX;

std::size_t usable_limit(std::size_t bytes_max) {
    return std::clamp(bytes_max, kSmallestLimit, kLargestLimit);
}

detail::ProcessStep step_of(const ProcessFunction& function) {
    return {reinterpret_cast<const void*>(function.thunk()), function.name()};
}

std::chrono::milliseconds usable_patience(std::chrono::milliseconds patience) {
    return std::clamp<std::chrono::milliseconds>(patience, {}, kPatienceMax);
}

rt::process::Pool* make_pool(const ProcessPoolOptions& options) {
    if (options.workers > kWorkersMax) {
        throw std::invalid_argument("weft::ProcessPool: " + std::to_string(options.workers) +
                                    " workers are more than " + std::to_string(kWorkersMax));
    }
    return detail::make_process_pool({
        .name = options.name,
        .workers = options.workers != 0 ? options.workers : detail::process_pool_default_workers(),
        .length_max = usable_limit(options.message_bytes_max) + detail::kProcessCallHeadroom +
                      detail::kProcessCallExtra,
        .queue_max = options.queue_max != 0 ? options.queue_max : SIZE_MAX,
        .retry = options.retry,
        .escalation = {.ask = usable_patience(options.escalation.ask),
                       .terminate = usable_patience(options.escalation.terminate)},
        .limits = options.limits,
        .system_calls = options.system_calls,
        .preload = step_of(options.preload),
        .initializer = step_of(options.initializer),
    });
}

/// The last lines of it, set off for an error's text; empty if it has none.
std::string last_lines(std::string_view text) {
    constexpr std::size_t kLinesMax = 3;
    constexpr std::size_t kBytesMax = 500;
    while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    if (text.empty()) return {};
    if (text.size() > kBytesMax) {
        text.remove_prefix(text.size() - kBytesMax);
        // Not from the middle of a UTF-8 sequence, which has up to three such bytes.
        auto continues = [](char byte) {
            return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
        };
        for (int i = 0; i < 3 && !text.empty() && continues(text.front()); ++i)
            text.remove_prefix(1);
    }
    std::size_t begin = text.size();
    for (std::size_t lines = 0; lines < kLinesMax && begin != std::string_view::npos; ++lines) {
        begin = begin == 0 ? std::string_view::npos : text.rfind('\n', begin - 1);
    }
    if (begin != std::string_view::npos) text.remove_prefix(begin + 1);
    std::string lines = "; its standard error ends in:\n    ";
    for (char byte : text) {
        lines += byte;
        if (byte == '\n') lines += "    ";
    }
    return lines;
}

[[noreturn]] void throw_worker_died(const detail::ProcessReply& reply, std::string_view function) {
    std::string text = "worker process " + std::to_string(reply.pid);
    int signal = 0;
    int exit_status = 0;
    if (WIFSIGNALED(reply.wait_status)) {
        signal = WTERMSIG(reply.wait_status);
        const char* description = ::sigdescr_np(signal);
        text += " was killed by signal " + std::to_string(signal);
        if (description != nullptr) text += std::string(" (") + description + ")";
    } else {
        exit_status = WEXITSTATUS(reply.wait_status);
        text += " left with exit status " + std::to_string(exit_status);
    }
    if (!reply.text.empty())
        text = "worker process " + std::to_string(reply.pid) + " " + reply.text;
    text += " while it ran ";
    text += function;
    if (detail::TaskCore* task = detail::current_task()) {
        text += " for task '" + detail::name_of(*task) + "'";
    }
    if (reply.kills > 1) text += "; it has killed two workers, so it is not run again";
    text += last_lines(reply.stderr_tail);
    throw WorkerDied(text, signal, exit_status, std::string(function), reply.stderr_tail);
}

[[noreturn]] void throw_ending(const detail::ProcessReply& reply, std::string_view function) {
    using enum detail::ProcessEnding;
    switch (reply.ending) {
        case worker_died:
            throw_worker_died(reply, function);
        case unknown_function:
            throw UsageError("weft::to_process: " + std::string(function) + ": " + reply.text);
        case not_run:
            if (reply.error == 0) throw Error("weft::to_process: " + reply.text);
            [[fallthrough]];
        case answer_lost:
            throw std::system_error(reply.error, std::generic_category(),
                                    "weft::to_process: " + reply.text);
        case foreign:
            throw UsageError(
                "weft::to_process in a process that was forked from the one that the pool belongs "
                "to: its workers are not this process's");
        case queue_full:
            throw QueueFull("weft::to_process: the queue of the process pool '" + reply.text +
                            "' is full");
        case value:
        case exception:
        case closed:
            break;
    }
    throw Error("weft::to_process: the process pool '" + reply.text + "' was shut down");
}

}  // namespace

ProcessPool::ProcessPool(ProcessPoolOptions options)
    : bytes_max_(usable_limit(options.message_bytes_max)), pool_(make_pool(options)) {}

ProcessPool::~ProcessPool() = default;

void ProcessPool::Delete::operator()(rt::process::Pool* pool) const noexcept {
    detail::destroy_process_pool(pool);
}

bool ProcessPool::shutdown(Shutdown how, std::chrono::nanoseconds patience) {
    bool all_ended = true;
    if (how == Shutdown::drain) {
        TimePoint now = lowlevel::now();
        TimePoint deadline = patience >= lowlevel::kNever - now ? lowlevel::kNever : now + patience;
        all_ended = detail::drain_process_pool(*pool_, deadline);
    }
    detail::shut_down_process_pool(*pool_, false);
    return all_ended;
}

ProcessPoolFigures ProcessPool::figures() const noexcept {
    return detail::process_pool_figures(*pool_);
}

namespace detail {

namespace {

/// By the steady clock, which all processes of a machine share; a simulation's own runs elsewhere.
TimePoint deadline_for_others() {
    std::optional<TimePoint> deadline = current_deadline();
    if (!deadline || *deadline == lowlevel::kNever) return lowlevel::kNever;
    rt::Scheduler* scheduler = current_scheduler();
    SimulationState state;
    if (scheduler == nullptr || !simulation_state(*scheduler, &state)) return *deadline;
    return std::chrono::time_point_cast<TimePoint::duration>(std::chrono::steady_clock::now()) +
           (*deadline - lowlevel::now());
}

}  // namespace

void begin_process_call(OutputArchive& message) {
    if (!main_is_wrapped()) {
        throw UsageError(
            "weft::to_process: this program was linked without weft_main, so no worker processes "
            "can be made of it. Link it with the CMake target weft::weft, with `pkg-config --libs "
            "weft`, or with -lweft_main -Wl,--wrap=main,--undefined=main before -lweft");
    }
    constexpr std::byte kRoom[kProcessCallHeadroom] = {};
    message.write_bytes(kRoom, sizeof kRoom);
    message.write(deadline_for_others().time_since_epoch().count());
    SentContextVar::write_all(message);
}

ProcessReply finish_process_call(rt::process::Pool& pool, ProcessThunk thunk,
                                 std::string_view function, Repeatable repeatable,
                                 OutputArchive& message) {
    const void* code = reinterpret_cast<const void*>(thunk);
    ProcessReply reply =
        run_in_process(pool, code, message.bytes(), message.memories(), repeatable);
    if (reply.ending == ProcessEnding::value) return reply;
    if (reply.ending == ProcessEnding::exception) {
        InputArchive in(reply.bytes.bytes());
        // The worker had no memory left to describe it.
        if (in.rest() == 0) throw std::bad_alloc();
        std::rethrow_exception(read_exception(in));
    }
    throw_ending(reply, function);
}

rt::process::Pool& default_process_pool() {
    // Never destroyed, so that a static object's destructor that calls to_process finds a pool that
    // says it is shut down.
    static rt::process::Pool* const pool = make_pool({});
    struct AtExit {
        ~AtExit() { shut_down_process_pool(*pool, true); }
    };
    static AtExit at_exit;
    return *pool;
}

namespace {

ProcessBytes bytes_of(OutputArchive& archive) noexcept {
    std::size_t size = archive.bytes().size();
    return {archive.release(), size, ProcessBytes::Origin::malloc};
}

/// In the worker: what begin_process_call() and the caller have written.
class CallInWorker : public OffloadCall {
public:
    CallInWorker(ProcessThunk thunk, InputArchive& in, OutputArchive& made)
        : thunk_(thunk), in_(in), made_(made) {
        using Ticks = TimePoint::rep;
        deadline = TimePoint(TimePoint::duration(Codec<Ticks>::read(in)));
        stop = std::stop_source();
        run = [](OffloadCall& call) noexcept { static_cast<CallInWorker&>(call).execute(); };
    }

private:
    void execute() noexcept {
        try {
            SentContextVar::read_all(in_);
            thunk_(in_, made_);
        } catch (...) {
            error = std::current_exception();
        }
    }

    ProcessThunk thunk_;
    InputArchive& in_;
    OutputArchive& made_;
};

/// The arguments in, the result out; throws what the function throws.
void execute(ProcessThunk thunk, InputArchive& in, OutputArchive& made) {
    if (in.rest() == 0) return thunk(in, made);  // a step of the pool's
    CallInWorker call(thunk, in, made);
    run_in_worker(call);
    if (call.error != nullptr) std::rethrow_exception(std::move(call.error));
}

void serve_call(const void* code, std::span<const std::byte> arguments, ArrivedFiles& memories,
                std::size_t bytes_max, ProcessAnswer& answer) noexcept {
    auto thunk = reinterpret_cast<ProcessThunk>(const_cast<void*>(code));
    OutputArchive made(bytes_max);
    try {
        InputArchive in(arguments, &memories);
        execute(thunk, in, made);
        answer.kind = ProcessAnswer::Kind::value;
        answer.bytes = bytes_of(made);
        answer.memories = made.release_memories();
    } catch (...) {
        answer.kind = ProcessAnswer::Kind::exception;
        try {
            OutputArchive told(kSmallestLimit);
            write_exception(std::current_exception(), told);
            answer.bytes = bytes_of(told);
        } catch (...) {
            // No memory to say it in: an answer without bytes says that.
        }
    }
}

}  // namespace

}  // namespace detail

}  // namespace weft

/// What main_wrap.cpp, which is linked into each program, calls before the program's main.
extern "C" void weft_fork_server_main(int, char** argv) {
    weft::detail::enter_main(argv, &weft::detail::serve_call);
}
