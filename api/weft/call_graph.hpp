// Who waits for whom: asyncio's capture_call_graph, without the frames, which C++ has no names for at run time.
#pragma once

#include <weft/future.hpp>

#include <cstdio>
#include <string>
#include <vector>

namespace weft {

/// A task or future, and the tasks that wait for it, as they were at some moment. Each stands in it once, so that
/// neither a chain a million deep nor tasks that wait for each other are too much for it.
struct CallGraph {
    struct Node {
        AnyTask task;      ///< empty: a future
        std::string name;  ///< the task's, or "future"
        /// "sleep", "Lock.acquire"...; empty: it runs, or has not begun, or is a future
        std::string waits_for;
        std::vector<std::size_t> awaited_by{};  ///< places in `nodes`, each once
    };
    std::vector<Node> nodes;  ///< the first one is what was asked for
};

namespace detail {

CallGraph capture_call_graph(Core& core);
void print_call_graph(Core& core, std::FILE* out);

}  // namespace detail

/// Who waits for this task or future, through await, gather, wait, as_completed, shield, task groups and futures; and who
/// for those, and so on. Any thread, on any stack; never waits; what runs meanwhile may be caught in the middle of a
/// step. It holds a reference to each task in it. std::bad_alloc. Cost: a look at each of them under its lock.
template <class Handle>
    requires requires(const Handle& handle) { handle.core_or_throw(); }
CallGraph capture_call_graph(const Handle& handle) {
    return detail::capture_call_graph(handle.core_or_throw());
}
/// Of the running task. UsageError outside of one.
CallGraph capture_call_graph();

/// The same, printed: a line each, who waits below what it waits for. Who is met again comes without those below.
template <class Handle>
    requires requires(const Handle& handle) { handle.core_or_throw(); }
void print_call_graph(const Handle& handle, std::FILE* out = stderr) {
    detail::print_call_graph(handle.core_or_throw(), out);
}

}  // namespace weft
