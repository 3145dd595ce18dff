// Who waits for whom: asyncio's capture_call_graph, without the frames, which C++ has no names for at run time.
#pragma once

#include <weft/future.hpp>

#include <cstdio>
#include <string>
#include <vector>

namespace weft {

/// A task or future, and the tasks that wait for it, as they were at some moment.
struct CallGraph {
    AnyTask task;      ///< empty: a future
    std::string name;  ///< the task's, or "future"
    std::string
        waits_for;  ///< "sleep", "Lock.acquire"...; empty: it runs, or has not begun, or is a future
    std::vector<CallGraph> awaited_by{};
    bool repeated = false;  ///< it stands nearer to the root as well: they wait for each other
};

namespace detail {

CallGraph capture_call_graph(Core& core);
void print_call_graph(Core& core, std::FILE* out);

}  // namespace detail

/// Who waits for this task or future, through await, gather, wait, as_completed, shield, task groups and futures; and who
/// for those, and so on. Any thread; what runs meanwhile may be caught in the middle of a step. std::bad_alloc. Cost:
/// a look at each of them under its lock.
template <class Handle>
    requires requires(const Handle& handle) { handle.core_or_throw(); }
CallGraph capture_call_graph(const Handle& handle) {
    return detail::capture_call_graph(handle.core_or_throw());
}
/// Of the running task. UsageError outside of one.
CallGraph capture_call_graph();

/// The same, printed: a line each, who waits below what it waits for.
template <class Handle>
    requires requires(const Handle& handle) { handle.core_or_throw(); }
void print_call_graph(const Handle& handle, std::FILE* out = stderr) {
    detail::print_call_graph(handle.core_or_throw(), out);
}

}  // namespace weft
