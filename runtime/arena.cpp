#include "arena.hpp"

#include <atomic>

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
void set_nice_of_this_thread(int value) noexcept { ::setpriority(PRIO_PROCESS, 0, value); }

/// Sets the nice value of oneTBB's threads as they come into the arena, to that of the thread that made the arena and so much
/// more. Not to their own and so much more: a thread that one of the arena's has started begins with the lowered one. They
/// get it back as they leave, where that is allowed; but a thread that is still there at the arena's end is not told, and so
/// an arena that lowers nothing sets it too, once any other has.
class GivesWay : public oneapi::tbb::task_scheduler_observer {
public:
    GivesWay(oneapi::tbb::task_arena& arena, int nice)
        : task_scheduler_observer(arena), base_(nice_of_this_thread()), nice_(nice) {
        if (nice_ != 0) any_has.store(true);
        if (any_has.load()) observe(true);
    }
    ~GivesWay() override { observe(false); }

    void on_scheduler_entry(bool) override { set_nice_of_this_thread(base_ + nice_); }
    void on_scheduler_exit(bool) override { set_nice_of_this_thread(base_); }

private:
    static inline std::atomic<bool> any_has{false};
    const int base_;
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
