#include "arena.hpp"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

namespace weft::rt {

struct ArenaCall::Impl {
    OffloadCall& call;
    // Isolated: nothing outside of weft cancels it.
    oneapi::tbb::task_group_context context{oneapi::tbb::task_group_context::isolated};
};

ArenaCall::ArenaCall(OffloadCall& call) : impl_(new Impl{call}) {}
ArenaCall::~ArenaCall() = default;
void ArenaCall::cancel() noexcept { impl_->context.cancel_group_execution(); }

struct Arena::Impl {
    // oneTBB allows cores - 1 worker threads by itself, since it counts on the thread that enters; ours never enters.
    oneapi::tbb::global_control limit;
    oneapi::tbb::task_arena arena;
};

// No slot is kept for outside threads: workers of weft never enter.
Arena::Arena(unsigned cores)
    : impl_(new Impl{{oneapi::tbb::global_control::max_allowed_parallelism, cores + 1},
                     oneapi::tbb::task_arena(static_cast<int>(cores), 0)}) {}
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
