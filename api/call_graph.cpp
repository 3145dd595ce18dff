#include <weft/call_graph.hpp>
#include <weft/detail/engine.hpp>

#include <algorithm>
#include <string>
#include <unordered_map>

namespace weft {

namespace detail {

namespace {

CallGraph::Node describe(Core& core) {
    if (core.kind != CoreKind::task) return {{}, "future", {}};
    auto& task = static_cast<TaskCore&>(core);
    // order [waits_for]: relaxed - a literal, whichever.
    const char* what = task.waits_for.load(std::memory_order_relaxed);
    return {AnyTask(CoreRef::share(core)), name_of(task), what != nullptr ? what : ""};
}

// Beyond it a line tells its depth by a number: a chain a hundred thousand deep would print ten gigabytes of spaces.
constexpr std::size_t kDeepestIndent = 40;

void print_line(const CallGraph::Node& node, std::size_t depth, const char* end, std::FILE* out) {
    std::fprintf(out, "%*s", static_cast<int>(2 * std::min(depth, kDeepestIndent)), "");
    if (depth > kDeepestIndent) std::fprintf(out, "[%zu] ", depth);
    std::fputs(node.name.c_str(), out);
    if (!node.waits_for.empty()) std::fprintf(out, " (waits: %s)", node.waits_for.c_str());
    std::fputs(end, out);
}

void print(const CallGraph& graph, std::FILE* out) {
    enum class Told : std::uint8_t { no, being_told, yes };
    struct Place {
        std::size_t node;
        std::size_t next;  // of those who await it
    };
    std::vector<Told> told(graph.nodes.size());
    std::vector<Place> path;
    auto visit = [&](std::size_t index) {
        const CallGraph::Node& node = graph.nodes[index];
        if (told[index] == Told::being_told)
            return print_line(node, path.size(), ": see above, they wait for each other\n", out);
        bool again = told[index] == Told::yes && !node.awaited_by.empty();
        print_line(node, path.size(), again ? ": see above\n" : "\n", out);
        if (told[index] == Told::yes) return;
        told[index] = Told::being_told;
        path.push_back({index, 0});
    };
    visit(0);
    while (!path.empty()) {
        Place& at = path.back();
        const std::vector<std::size_t>& awaited_by = graph.nodes[at.node].awaited_by;
        if (at.next < awaited_by.size()) {
            visit(awaited_by[at.next++]);
        } else {
            told[at.node] = Told::yes;
            path.pop_back();
        }
    }
}

}  // namespace

CallGraph capture_call_graph(Core& core) {
    CallGraph graph;
    std::unordered_map<const Core*, std::size_t> places;
    std::vector<Core*>
        cores;  // that of each node; they are held by the nodes, the first one by the caller
    std::vector<std::size_t>
        named_by;  // the node that named it last as one of its awaiters, plus one
    auto place_of = [&](Core& one) {
        auto [at, is_new] = places.try_emplace(&one, graph.nodes.size());
        if (is_new) {
            graph.nodes.push_back(describe(one));
            named_by.push_back(0);
            cores.push_back(&one);
        }
        return at->second;
    };
    place_of(core);
    TaskRefs awaiters;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        awaiters_of(*cores[i], Edges::all, awaiters);
        for (TaskCore* awaiter : awaiters.tasks) {
            std::size_t place = place_of(*awaiter);
            if (named_by[place] == i + 1) continue;
            named_by[place] = i + 1;
            graph.nodes[i].awaited_by.push_back(place);
        }
    }
    return graph;
}

void print_call_graph(Core& core, std::FILE* out) { print(capture_call_graph(core), out); }

}  // namespace detail

CallGraph capture_call_graph() {
    lowlevel::require_task("capture_call_graph");
    return detail::capture_call_graph(*detail::current_task());
}

}  // namespace weft
