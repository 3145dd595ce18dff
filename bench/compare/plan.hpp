// The plan: what one workload is, in full, so that every model does the very same work.
//
// The supervisor writes it once per workload into an unlinked file; each model, C++ or Python,
// reads it in a process of its own. It is one line of JSON, a newline, then the paths separated by
// NUL: file names are bytes and need not be UTF-8, which JSON would insist on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft_compare {

enum class Workload { wait, network, shared, cpu, mixed, runaway, buffer };

inline constexpr std::array kWorkloads{Workload::wait,  Workload::network, Workload::shared,
                                       Workload::cpu,   Workload::mixed,   Workload::runaway,
                                       Workload::buffer};

std::string_view name_of(Workload workload);

struct Plan {
    Workload workload = Workload::wait;
    std::size_t tasks = 0;
    double wait_ms = 0;              // wait, network (the server's), mixed
    std::uint16_t port = 0;          // network: of 127.0.0.1
    std::uint64_t hash_bytes = 0;    // cpu, mixed, runaway: what one task hashes, about
    std::uint64_t buffer_bytes = 0;  // buffer: what one task recodes
    double task_limit_ms = 0;        // runaway: how long a task may run
    unsigned workers = 1;            // cores that a model may use
    unsigned pool = 1;               // threads of the thread pool, suited to the workload
    std::vector<std::string> files;

    // Tasks are spread evenly over the sorted files, so that a small run is a fair sample of a
    // large one.
    std::size_t file_of(std::size_t task) const {
        return tasks < files.size() ? task * files.size() / tasks : task % files.size();
    }
    const std::string& path_of(std::size_t task) const { return files[file_of(task)]; }

    // Those tasks of Workload::runaway that never end by themselves: one in fifty.
    static constexpr std::size_t kRunawayEvery = 50;
    static constexpr std::size_t kFirstRunaway = 7;
    bool is_runaway(std::size_t task) const {
        return workload == Workload::runaway && task % kRunawayEvery == kFirstRunaway;
    }
    std::size_t runaways() const {
        if (workload != Workload::runaway) return 0;
        return (tasks + kRunawayEvery - 1 - kFirstRunaway) / kRunawayEvery;
    }
};

std::string encode(const Plan& plan);
Plan decode(std::string_view text);

}  // namespace weft_compare
