// The models that are compared: the ways in which the same tasks can be run.
//
// A model is one function that does all tasks of a Run and returns when the last result is there.
// It runs in a process of its own (child.cpp), so it may be wasteful, leave threads behind or
// crash. To add one: write the function in the file of its family and name it in models.cpp.
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "measure.hpp"
#include "plan.hpp"
#include "workload.hpp"

namespace weft_compare {

// What a model is given, and where it leaves what it did.
struct Run {
    explicit Run(const Plan& p) : plan(p), results(p.tasks) {}

    const Plan& plan;
    std::vector<TaskResult> results;  // one place a task, written by that task alone
    SharedWords words;                // for Workload::shared
    WordLocks words_locks;            // where threads share words
    LagLog lag;
    Stopwatch stopwatch;  // last: the clock starts when all else is made
};

// Thrown by a model that cannot do this size here; its row tells why.
struct CannotRun : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Family { weft, classic, python };

std::string_view name_of(Family family);

struct Model {
    std::string_view key;    // on the command line and in JSON
    std::string_view label;  // for people
    Family family;
    std::string_view blurb;  // a line of --help
    void (*run)(Run&);       // null: python/rows.py runs it
    bool has_children;       // its memory is that of several processes
};

const std::vector<Model>& models();
const Model* find_model(std::string_view key);

// Whether there is anything in this model that the others of its kind do not show in this workload.
bool applies(const Model& model, Workload workload);

// Why this model cannot do this workload at all; empty where it can.
std::string unable(const Model& model, const Plan& plan);

// What becomes of a task that was stopped at its time limit. Of one that would have ended, which
// is a machine too busy for that limit: CannotRun.
TaskResult give_up(const Plan& plan, std::size_t task);

// How many tasks wait at once at most, where the model itself sets that limit; else nothing.
std::optional<std::size_t> wait_limit(const Model& model, const Plan& plan);

void run_sequential(Run& run);
void run_thread_per_task(Run& run);
void run_thread_pool(Run& run);
void run_processes(Run& run);
void run_asyncio(Run& run);
void run_asyncio_all(Run& run);
void run_to_thread(Run& run);
void run_to_arena(Run& run);
void run_to_process(Run& run);
void run_to_process_copying(Run& run);

}  // namespace weft_compare
