#include "arena.hpp"

#include <weft/detail/basic_errors.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <utility>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
#include <oneapi/tbb/task_scheduler_observer.h>
#include <sys/resource.h>
#include <unistd.h>

#include "leave_alone.hpp"
#include "sanitizers.hpp"

namespace weft::rt {

namespace {

/// What is allocated while it lives is not asked for by LeakSanitizer.
struct OutOfSight {
#if WEFT_ASAN
    OutOfSight() { __lsan_disable(); }
    ~OutOfSight() { __lsan_enable(); }
#else
    OutOfSight() {}
#endif
    OutOfSight(const OutOfSight&) = delete;
    OutOfSight& operator=(const OutOfSight&) = delete;
};

/// Whose a call is that oneTBB has been given, which gives nothing back. It changes once, from `queued`:
///   running  by the function that was enqueued, which alone calls, unlinks and finishes the call;
///   taken    by who takes the call back, and alone unlinks and finishes it. The function that was enqueued then touches this
///            word alone, as call and arena may be gone when it comes to be called.
class Claim {
public:
    bool begin() noexcept { return leave_queue(State::running); }
    bool take_back() noexcept { return leave_queue(State::taken); }

private:
    enum class State : std::uint8_t { queued, running, taken };
    bool leave_queue(State next) noexcept {
        State queued = State::queued;
        return state_.compare_exchange_strong(queued, next);
    }
    std::atomic<State> state_{State::queued};
};

std::shared_ptr<Claim> make_claim() {
    // The last reference to one that was taken back may be in memory of oneTBB's own, where LeakSanitizer does not look.
    OutOfSight out_of_sight;
    return std::make_shared<Claim>();
}

}  // namespace

struct ArenaCall::Impl {
    OffloadCall& call;
    std::size_t threads_most;
    std::shared_ptr<Claim> claim = make_claim();
    // Isolated: nothing outside of weft cancels it.
    oneapi::tbb::task_group_context context{oneapi::tbb::task_group_context::isolated};
    Impl* prev = nullptr;  // of those in the arena; guarded by its lock
    Impl* next = nullptr;
};

ArenaCall::ArenaCall(OffloadCall& call, std::size_t threads_most)
    : impl_(new Impl{call, threads_most}) {}
ArenaCall::~ArenaCall() = default;
void ArenaCall::cancel() noexcept { impl_->context.cancel_group_execution(); }

namespace {

// Of the calling thread: Linux keeps a nice value for each.
int nice_of_this_thread() noexcept { return ::getpriority(PRIO_PROCESS, 0); }
void set_nice_of_this_thread(int value) noexcept { ::setpriority(PRIO_PROCESS, 0, value); }

// oneTBB itself would make its state for any thread that asks.
thread_local bool is_arenas_thread = false;
// The serial number of the arena among whose threads this one counts; one that was in an arena at its end still says so.
thread_local std::uint64_t counted_in = 0;
// Functions of calls that are on this thread's stack.
thread_local unsigned functions_below = 0;

/// What threads are told as they come into an arena. Their nice value becomes that of the thread that made the arena and so
/// much more. Not their own and so much more: a thread that one of the arena's has started begins with the lowered one. They
/// get it back as they leave, where that is allowed; but a thread that is still there at the arena's end is not told, and so
/// an arena that lowers nothing sets it too, once any other has.
class Greeter : public oneapi::tbb::task_scheduler_observer {
public:
    Greeter(oneapi::tbb::task_arena& arena, int base, int nice, ArenaSlots& slots,
            std::uint64_t serial)
        : task_scheduler_observer(arena), base_(base), nice_(nice), slots_(slots), serial_(serial) {
        if (nice_ != 0) any_has.store(true);
        sets_nice_ = any_has.load();
        // Of what this makes, a thread that is still in the arena keeps the last reference after our end: in memory of oneTBB's
        // own, where LeakSanitizer does not look.
        OutOfSight out_of_sight;
        observe(true);
    }
    ~Greeter() override { observe(false); }

    void on_scheduler_entry(bool) override {
        is_arenas_thread = true;
        if (std::exchange(counted_in, serial_) != serial_) slots_.entered();
        if (sets_nice_) set_nice_of_this_thread(base_ + nice_);
    }
    void on_scheduler_exit(bool) override {
        is_arenas_thread = false;
        if (std::exchange(counted_in, 0) == serial_) slots_.left();
        if (sets_nice_) set_nice_of_this_thread(base_);
    }

private:
    static inline std::atomic<bool> any_has{false};
    const int base_;
    const int nice_;
    ArenaSlots& slots_;
    const std::uint64_t serial_;
    bool sets_nice_;
};

/// oneTBB's limit for the whole process is the least that anybody asks for, and an arena whose slots are beyond it waits until
/// threads leave another. So weft asks once, for what all its arenas together want.
class Parallelism {
public:
    explicit Parallelism(unsigned cores) : cores_(cores) {
        std::lock_guard guard(shared().mutex);
        adjust(shared().wanted + cores_);
    }
    ~Parallelism() {
        std::lock_guard guard(shared().mutex);
        adjust(shared().wanted - cores_);
    }
    Parallelism(const Parallelism&) = delete;
    Parallelism& operator=(const Parallelism&) = delete;

private:
    using Limit = oneapi::tbb::global_control;
    struct Shared {
        std::mutex mutex;
        std::size_t wanted = 0;
        std::unique_ptr<Limit> limit;
    };
    static Shared& shared() {
        static auto& shared = *new Shared;  // arenas may be ended by static destructors
        return shared;
    }
    static void adjust(std::size_t wanted) {
        // oneTBB allows one thread fewer, since it counts on the thread that enters; ours never enters.
        auto limit = wanted == 0
                         ? nullptr
                         : std::make_unique<Limit>(Limit::max_allowed_parallelism, wanted + 1);
        shared().wanted = wanted;
        shared().limit = std::move(limit);
    }
    const unsigned cores_;
};

std::uint64_t next_serial() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1) + 1;
}

}  // namespace

struct Arena::Impl {
    const detail::ArenaOptions options;
    const std::shared_ptr<ArenaSlots> slots;
    const std::uint64_t serial = next_serial();
    const pid_t owner = ::getpid();
    const int base_nice = nice_of_this_thread();
    Parallelism parallelism;
    // No slot is kept for outside threads: workers of weft never enter.
    oneapi::tbb::task_arena arena;
    Greeter greeter;

    mutable std::mutex mutex;
    std::condition_variable ended;
    bool closing = false;
    ArenaCall::Impl* first = nullptr;  // all calls that have not ended
    detail::OffloadMeter meter;

    Impl(const detail::ArenaOptions& given, std::shared_ptr<ArenaSlots> given_slots)
        : options(given),
          slots(std::move(given_slots)),
          parallelism(given.cores),
          arena(static_cast<int>(given.cores), 0),
          greeter(arena, base_nice, given.nice, *slots, serial) {}

    // Else it is of a parent: its threads are not here, and locks may be as they held them.
    bool is_ours() const noexcept { return owner == ::getpid(); }

    void add(ArenaCall::Impl& call) {
        if (!is_ours())
            throw UsageError("'" + options.name +
                             "' is of the process that this one was forked from");
        std::lock_guard guard(mutex);
        if (closing) throw Error("'" + options.name + "' has been shut down");
        require_room();
        call.next = first;
        if (first != nullptr) first->prev = &call;
        first = &call;
        meter.handed_in(call.call);
    }
    // oneTBB does not tell which slots are free: those that run no call's function. Under the lock.
    void require_room() {
        const detail::ExecutorFigures& now = meter.figures();
        const std::size_t free = options.cores - std::min<std::size_t>(options.cores, now.running);
        if (now.queued < free || now.queued - free < options.queue_max) return;
        meter.refused();
        throw QueueFull("the queue of '" + options.name + "' is full: " +
                        std::to_string(now.queued - free) + " calls wait for a slot");
    }
    void unlink(ArenaCall::Impl& call) noexcept {
        (call.prev != nullptr ? call.prev->next : first) = call.next;
        if (call.next != nullptr) call.next->prev = call.prev;
    }
    void run(ArenaCall::Impl& call) {
        // run() throws nothing: it keeps the user's exception. A context that is cancelled before runs nothing.
        oneapi::tbb::task_group group(call.context);
        group.run_and_wait([&] {
            {
                std::lock_guard guard(mutex);
                meter.began(call.call);
            }
            call.call.group = current_group();
            ++functions_below;
            call_offloaded(call.call);
            --functions_below;
        });
    }
    void run_within_limit(ArenaCall::Impl& call) noexcept {
        try {
            if (call.threads_most == 0 || call.threads_most >= options.cores) return run(call);
            // An arena in the arena: this thread goes in, and as few others as are left to it. As it comes out it is told that
            // it leaves an arena, though it is in the outer one again.
            struct BackInOuter {
                Greeter& greeter;
                ~BackInOuter() { greeter.on_scheduler_entry(true); }
            } back_in_outer{greeter};
            oneapi::tbb::task_arena few(static_cast<int>(call.threads_most), 1);
            Greeter greets(few, base_nice, options.nice, *slots, serial);
            few.execute([&] { run(call); });
        } catch (...) {
            // oneTBB's own: it had no memory.
            call.call.error = std::current_exception();
        }
    }
    void end(ArenaCall::Impl& call) noexcept {
        std::lock_guard guard(mutex);
        unlink(call);
        call.call.ran ? meter.ended(call.call) : meter.taken_back();
        if (call.call.killed && (call.call.error == nullptr || is_cancel(call.call.error)))
            call.call.error = shut_down_error(options.name, "before the call ended");
        if (first == nullptr) ended.notify_all();
    }
    bool take_back(ArenaCall::Impl& call) noexcept {
        if (!call.claim->take_back()) return false;
        std::lock_guard guard(mutex);
        unlink(call);
        meter.taken_back();
        if (first == nullptr) ended.notify_all();
        return true;
    }
    /// oneTBB has not taken it. False: close() has.
    bool give_up(ArenaCall::Impl& call) noexcept {
        if (!call.claim->take_back()) return false;
        std::lock_guard guard(mutex);
        unlink(call);
        meter.not_started();
        if (first == nullptr) ended.notify_all();
        return true;
    }
    /// Those that have not begun, linked by `next`: nobody else's any more. The others are cancelled. Under the lock.
    ArenaCall::Impl* kill_all() noexcept {
        ArenaCall::Impl* dropped = nullptr;
        for (ArenaCall::Impl *call = first, *next = nullptr; call != nullptr; call = next) {
            next = call->next;
            if (call->claim->take_back()) {
                unlink(*call);
                meter.taken_back();
                call->next = std::exchange(dropped, call);
                continue;
            }
            call->call.killed = !call->call.stop_asked.load();
            call->context.cancel_group_execution();
        }
        if (first == nullptr) ended.notify_all();
        return dropped;
    }
    /// One at a time, since those who hear of it are called without the lock, and the call may end meanwhile.
    void ask_running_to_stop() noexcept {
        std::unique_lock guard(mutex);
        for (ArenaCall::Impl* call = first; call != nullptr;) {
            if (!mark_to_stop(call->call)) {
                call = call->next;
                continue;
            }
            std::stop_source stop = call->call.stop;
            guard.unlock();
            stop.request_stop();
            guard.lock();
            call = first;
        }
    }
};

Arena::Arena(const detail::ArenaOptions& options)
    : Arena(options, std::make_shared<ArenaSlots>(options.cores)) {}

Arena::Arena(const detail::ArenaOptions& options, std::shared_ptr<ArenaSlots> slots)
    : impl_(new Impl(options, std::move(slots))) {}

Arena::~Arena() {
    if (!impl_->is_ours()) {
        leave_alone(impl_.release());
        return;
    }
    impl_->slots->allow(impl_->options.cores);
    close(Shutdown::drain);
    join();
}

void Arena::enqueue(ArenaCall& call) {
    ArenaCall::Impl* one = call.impl_.get();
    impl_->add(*one);
    try {
        impl_->arena.enqueue([impl = impl_.get(), one, claim = one->claim] {
            if (!claim->begin()) return;
            OffloadCall& offloaded = one->call;
            impl->run_within_limit(*one);
            impl->end(*one);
            // Last: `one` belongs to the waiter's frame, which may go on now.
            finish_offload(offloaded);
        });
    } catch (...) {
        if (impl_->give_up(*one)) throw;
    }
}

bool Arena::take_back(ArenaCall& call) noexcept { return impl_->take_back(*call.impl_); }

void Arena::close(Shutdown how) noexcept {
    if (!impl_->is_ours()) return;
    ArenaCall::Impl* dropped = nullptr;
    {
        std::lock_guard guard(impl_->mutex);
        impl_->closing = true;
        if (how == Shutdown::drain) return;
        dropped = impl_->kill_all();
    }
    while (dropped != nullptr) {
        // Before: each belongs to its waiter's frame, which may go on then.
        OffloadCall& call = std::exchange(dropped, dropped->next)->call;
        fail_offload(call, shut_down_error(impl_->options.name, "before the call began"));
    }
    impl_->ask_running_to_stop();
}

void Arena::join() noexcept {
    if (!impl_->is_ours()) return;
    std::unique_lock guard(impl_->mutex);
    impl_->ended.wait(guard, [this] { return impl_->first == nullptr; });
}

detail::ExecutorFigures Arena::figures() const noexcept {
    if (!impl_->is_ours()) return {};
    std::lock_guard guard(impl_->mutex);
    detail::ExecutorFigures figures = impl_->meter.figures();
    figures.threads = impl_->options.cores;
    figures.idle = figures.threads - std::min(figures.threads, figures.running);
    return figures;
}

ArenaSlots& Arena::slots() noexcept { return *impl_->slots; }

void Arena::allow(unsigned threads) noexcept {
    for (unsigned surplus = impl_->slots->allow(threads); surplus > 0; --surplus) {
        try {
            // Threads take what was enqueued when they have nothing below them that others wait for. Were that otherwise, this
            // one would be as if it had not been sent.
            impl_->arena.enqueue([slots = impl_->slots] {
                functions_below == 0 ? slots->park() : slots->not_sent(1);
            });
        } catch (...) {
            return impl_->slots->not_sent(surplus);
        }
    }
}

const void* current_group() noexcept {
    return is_arenas_thread ? oneapi::tbb::task::current_context() : nullptr;
}

InArena in_arena() noexcept {
    if (!is_arenas_thread) return InArena::no;
    return oneapi::tbb::is_current_task_group_canceling() ? InArena::cancelled : InArena::yes;
}

}  // namespace weft::rt
