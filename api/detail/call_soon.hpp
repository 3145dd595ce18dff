// A turn of its own: asyncio passes some wake-ups through callbacks, and strict mode keeps its order to the letter.
#pragma once

#include <weft/task.hpp>

#include <new>
#include <source_location>

namespace weft::detail {

/// Any thread: calls f, which must not wait nor run what is a user's, in a worker in the next turn. False: no memory, f
/// will not be called. What f holds may be a user's, and is destroyed with it.
template <class F>
bool call_soon(rt::Scheduler& scheduler, const F& f) noexcept {
    try {
        TaskCore& callback = make_task_core<void>(f, std::source_location::current());
        callback.is_callback = true;
        callback.never_parks = true;
        auto handle = CoreRef::adopt(callback);
        launch_in(scheduler, callback);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace weft::detail
