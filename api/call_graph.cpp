#include <weft/call_graph.hpp>
#include <weft/detail/engine.hpp>

#include <algorithm>

namespace weft {

namespace detail {

namespace {

CallGraph capture(Core& core, std::vector<const Core*>& path) {
    CallGraph graph;
    if (core.kind == CoreKind::task) {
        auto& task = static_cast<TaskCore&>(core);
        graph.task = AnyTask(CoreRef::share(core));
        graph.name = name_of(task);
        // order [waits_for]: relaxed - a literal, whichever.
        const char* what = task.waits_for.load(std::memory_order_relaxed);
        if (what != nullptr) graph.waits_for = what;
    } else {
        graph.name = "future";
    }
    graph.repeated = std::find(path.begin(), path.end(), &core) != path.end();
    if (graph.repeated) return graph;
    path.push_back(&core);
    std::vector<AnyTask> awaiters;
    for (TaskCore* awaiter : awaiters_of(core)) awaiters.emplace_back(CoreRef::adopt(*awaiter));
    for (const AnyTask& awaiter : awaiters)
        graph.awaited_by.push_back(capture(*awaiter.core(), path));
    path.pop_back();
    return graph;
}

void print(const CallGraph& graph, int depth, std::FILE* out) {
    std::fprintf(out, "%*s%s", depth * 2, "", graph.name.c_str());
    if (!graph.waits_for.empty()) std::fprintf(out, " (waits: %s)", graph.waits_for.c_str());
    std::fprintf(out, graph.repeated ? ": see above, they wait for each other\n" : "\n");
    for (const CallGraph& awaiter : graph.awaited_by) print(awaiter, depth + 1, out);
}

}  // namespace

CallGraph capture_call_graph(Core& core) {
    std::vector<const Core*> path;
    return capture(core, path);
}

void print_call_graph(Core& core, std::FILE* out) { print(capture_call_graph(core), 0, out); }

}  // namespace detail

CallGraph capture_call_graph() {
    lowlevel::require_task("capture_call_graph");
    return detail::capture_call_graph(*detail::current_task());
}

}  // namespace weft
