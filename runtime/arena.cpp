#include "arena.hpp"

#include <optional>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
#include <oneapi/tbb/task_scheduler_observer.h>
#include <sys/resource.h>

namespace weft::rt {

struct ArenaCall::Impl {
    OffloadCall& call;
    // Isolated: nothing outside of weft cancels it.
    oneapi::tbb::task_group_context context{oneapi::tbb::task_group_context::isolated};
};

ArenaCall::ArenaCall(OffloadCall& call) : impl_(new Impl{call}) {}
ArenaCall::~ArenaCall() = default;
void ArenaCall::cancel() noexcept { impl_->context.cancel_group_execution(); }

namespace {

// Of the calling thread: Linux keeps a nice value for each.
int nice_of_this_thread() noexcept { return ::getpriority(PRIO_PROCESS, 0); }
bool set_nice_of_this_thread(int value) noexcept {
    return ::setpriority(PRIO_PROCESS, 0, value) == 0;
}

/// Gives way to all that is not the arena's. An unprivileged thread cannot take that back when it leaves: so what is added is
/// added to what it had when it first came.
class GivesWay : public oneapi::tbb::task_scheduler_observer {
public:
    GivesWay(oneapi::tbb::task_arena& arena, int nice)
        : task_scheduler_observer(arena), nice_(nice) {
        if (nice_ != 0) observe(true);
    }
    ~GivesWay() override { observe(false); }

    void on_scheduler_entry(bool) override {
        if (!own_nice) own_nice = nice_of_this_thread();
        set_nice_of_this_thread(*own_nice + nice_);
    }
    void on_scheduler_exit(bool) override { set_nice_of_this_thread(*own_nice); }

private:
    static inline thread_local std::optional<int> own_nice;
    const int nice_;
};

}  // namespace

struct Arena::Impl {
    // oneTBB allows cores - 1 worker threads by itself, since it counts on the thread that enters; ours never enters.
    oneapi::tbb::global_control limit;
    oneapi::tbb::task_arena arena;
    GivesWay gives_way;

    // No slot is kept for outside threads: workers of weft never enter.
    Impl(unsigned cores, int nice)
        : limit(oneapi::tbb::global_control::max_allowed_parallelism, cores + 1),
          arena(static_cast<int>(cores), 0),
          gives_way(arena, nice) {}
};

Arena::Arena(unsigned cores, int nice) : impl_(new Impl(cores, nice)) {}
Arena::~Arena() = default;

void Arena::enqueue(ArenaCall& call) {
    impl_->arena.enqueue([impl = call.impl_.get()] {
        OffloadCall& offloaded = impl->call;
        {
            // run() throws nothing: it keeps the user's exception. A context that is cancelled before runs nothing.
            oneapi::tbb::task_group group(impl->context);
            group.run_and_wait([&] { call_offloaded(offloaded); });
        }
        // Last: `impl` belongs to the waiter's frame, which may go on now.
        finish_offload(offloaded);
    });
}

}  // namespace weft::rt
