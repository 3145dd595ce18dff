// The door's lower side: how a caller waits for its call. See <weft/detail/process.hpp>.
#include <weft/detail/basic_errors.hpp>
#include <weft/detail/process.hpp>
#include <weft/lowlevel.hpp>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>

#include "process/code_address.hpp"
#include "process/pool.hpp"
#include "scheduler.hpp"
#include "sys.hpp"

namespace weft::detail {

namespace process = rt::process;

namespace {

static_assert(kProcessCallHeadroom == sizeof(process::CodeAddress));

/// In the waiting caller's frame.
struct WaitingCall : process::Call {
    Waiter waiter;
};

/// In a simulation the clock stands still while a call is under way. Ended by the caller: a
/// worker does nothing more for a call that has been answered or withdrawn.
class OutsideWork {
public:
    explicit OutsideWork(rt::Scheduler* scheduler) noexcept
        : simulation_(scheduler != nullptr ? scheduler->simulation() : nullptr) {
        if (simulation_ != nullptr) simulation_->outside_begins();
    }
    ~OutsideWork() {
        if (simulation_ != nullptr) simulation_->outside_ends();
    }
    OutsideWork(const OutsideWork&) = delete;
    OutsideWork& operator=(const OutsideWork&) = delete;

private:
    rt::Simulation* simulation_;
};

void wake(process::Call& call) noexcept {
    lowlevel::unpark(static_cast<WaitingCall&>(call).waiter);
}

std::uint64_t next_call_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_seq_cst) + 1;
}

/// The message becomes a frame, here, where a large one is written into its file outside of any
/// lock.
void prepare(process::Call& call, const void* code, std::span<std::byte> message,
             const SharedMemoryList* memories, std::string& unknown) {
    process::CodeAddress address;
    if (!process::locate_code(code, address, unknown)) return;
    std::memcpy(message.data(), &address, sizeof address);
    int error = process::make_frame(process::FrameKind::call, next_call_id(), message, call.frame,
                                    memories);
    if (error != 0) {
        throw std::system_error(-error, std::generic_category(),
                                "the arguments of a call to another process");
    }
}

ProcessEnding read_refusal(ProcessReply& reply) {
    process::Refusal refusal;
    std::span<const std::byte> body = reply.bytes.bytes();
    if (body.size() >= sizeof refusal) {
        std::memcpy(&refusal, body.data(), sizeof refusal);
        body = body.subspan(sizeof refusal);
        reply.text.assign(reinterpret_cast<const char*>(body.data()), body.size());
    } else {
        refusal = {process::RefusalReason::out_of_resources, ENOMEM};
    }
    if (refusal.reason == process::RefusalReason::unknown_function) {
        return ProcessEnding::unknown_function;
    }
    reply.error = refusal.error;
    return ProcessEnding::answer_lost;
}

ProcessReply reply_of(process::Call& call) {
    ProcessReply reply;
    reply.wait_status = call.wait_status;
    reply.error = call.error;
    reply.pid = call.pid;
    reply.kills = call.kills;
    reply.bytes = std::move(call.answer);
    reply.memories = std::move(call.memories);
    reply.text = call.note.data();
    std::span<const std::byte> tail = call.stderr_tail.bytes();
    reply.stderr_tail.assign(reinterpret_cast<const char*>(tail.data()), tail.size());
    switch (call.ending) {
        case process::Ending::value:
            reply.ending = ProcessEnding::value;
            break;
        case process::Ending::exception:
            reply.ending = ProcessEnding::exception;
            break;
        case process::Ending::refused:
            reply.ending = read_refusal(reply);
            break;
        case process::Ending::worker_died:
            reply.ending = ProcessEnding::worker_died;
            break;
        case process::Ending::no_worker:
            reply.ending = ProcessEnding::not_run;
            break;
        case process::Ending::not_sent:
            reply.ending = ProcessEnding::not_run;
            reply.text = "the call could not be sent to a worker process";
            if (call.frame.header.memories != 0) reply.text += " with its shared buffers";
            break;
        case process::Ending::answer_lost:
            reply.ending = ProcessEnding::answer_lost;
            reply.text = "there was no descriptor or memory left to take the result";
            break;
        case process::Ending::queue_full:
            reply.ending = ProcessEnding::queue_full;
            break;
        case process::Ending::pending:
        case process::Ending::closed:
            reply.ending = ProcessEnding::closed;
            break;
    }
    return reply;
}

}  // namespace

ProcessReply run_in_process(process::Pool& pool, const void* code, std::span<std::byte> message,
                            const SharedMemoryList* memories, Repeatable repeatable) {
    lowlevel::checkpoint();
    ProcessReply refused;
    if (!pool.is_ours()) {
        refused.ending = ProcessEnding::foreign;
        return refused;
    }
    if (int error = pool.start(); error != 0) {
        throw std::system_error(-error, std::generic_category(),
                                "weft: the manager thread of a process pool");
    }
    WaitingCall call;
    call.on_done = &wake;
    call.repeatable = repeatable;
    prepare(call, code, message, memories, refused.text);
    if (!refused.text.empty()) {
        refused.ending = ProcessEnding::unknown_function;
        return refused;
    }
    OutsideWork outside(current_scheduler());
    auto commit = [&](Waiter self) noexcept {
        call.waiter = self;
        return pool.submit(call);
    };
    if (lowlevel::park({"to_process", &pool}, commit) == lowlevel::Woken::by_cancel) {
        pool.withdraw(call);
        lowlevel::throw_cancelled();
    }
    return reply_of(call);
}

bool drain_process_pool(process::Pool& pool, std::chrono::steady_clock::time_point deadline) {
    lowlevel::checkpoint();
    if (!pool.is_ours()) return true;
    struct WaitingDrain : process::Drain {
        Waiter waiter;
    } drain;
    drain.on_drained = [](process::Drain& self) noexcept {
        lowlevel::unpark(static_cast<WaitingDrain&>(self).waiter);
    };
    // In a simulation the clock does not run away from processes.
    OutsideWork outside(current_scheduler());
    auto commit = [&](Waiter self) noexcept {
        drain.waiter = self;
        return pool.begin_drain(drain);
    };
    lowlevel::Woken woken = lowlevel::park({"ProcessPool.shutdown", &pool}, commit, deadline);
    if (woken != lowlevel::Woken::by_cancel && woken != lowlevel::Woken::by_deadline)
        return !drain.cut_short;
    pool.leave_drain(drain);
    if (woken == lowlevel::Woken::by_cancel) lowlevel::throw_cancelled();
    return false;
}

process::Pool* make_process_pool(const ProcessPoolSetup& setup) {
    process::WorkerSetup worker;
    worker.length_max = setup.length_max;
    worker.limits = setup.limits;
    worker.system_calls = setup.system_calls;
    worker.may_be_asked = setup.escalation.ask.count() > 0;
    setup.name.copy(worker.name.data(), worker.name.size() - 1);
    auto locate = [](const ProcessStep& step, process::CodeAddress& address) {
        std::string why;
        if (step.code == nullptr || process::locate_code(step.code, address, why)) return;
        throw UsageError("weft::ProcessPool: " + std::string(step.name) + ": " + why);
    };
    locate(setup.preload, worker.preload);
    locate(setup.initializer, worker.initializer);
    return new process::Pool(setup, worker);
}

void destroy_process_pool(process::Pool* pool) noexcept { delete pool; }

void shut_down_process_pool(process::Pool& pool, bool abandon) noexcept {
    pool.shutdown(abandon ? process::Outstanding::abandon : process::Outstanding::fail);
}

ProcessPoolFigures process_pool_figures(const process::Pool& pool) noexcept {
    return pool.counts();
}

unsigned process_pool_default_workers() noexcept { return rt::sys::available_cores(); }

}  // namespace weft::detail
