// Sizes and their words; see sizes.hpp.
#include "sizes.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "format.hpp"

namespace weft_compare {
namespace {

struct Size {
    std::size_t tasks;  // 0: one for each file
    double wait_ms;
    double cpu_ms;
};

Size size_of(Workload workload, const Options& options) {
    Size size{};
    switch (workload) {
        case Workload::wait:
            size = options.quick ? Size{1'000, 10, 0} : Size{10'000, 20, 0};
            break;
        case Workload::network:
            size = options.quick ? Size{300, 10, 0} : Size{2'000, 20, 0};
            break;
        case Workload::shared:
            size = options.quick ? Size{1'500, 0, 0} : Size{0, 0, 0};
            break;
        case Workload::cpu:
        case Workload::runaway:  // the same, so that its price is what stands between the two
            size = options.quick ? Size{80, 0, 3} : Size{200, 0, 5};
            break;
        case Workload::buffer:
            size = options.quick ? Size{30, 0, 0} : Size{100, 0, 0};
            break;
        case Workload::mixed:
            size = options.quick ? Size{80, 10, 2} : Size{250, 10, 2};
            break;
    }
    if (options.tasks) size.tasks = *options.tasks;
    if (options.wait_ms && size.wait_ms > 0) size.wait_ms = *options.wait_ms;
    if (options.cpu_ms && size.cpu_ms > 0) size.cpu_ms = *options.cpu_ms;
    return size;
}

// Threads that mostly wait: asyncio's default executor has 32 at most, tokio's 512. Between them,
// and round.
constexpr unsigned kPoolForWaits = 64;

}  // namespace

double cpu_ms_of(Workload workload, const Options& options) {
    return size_of(workload, options).cpu_ms;
}

Plan make_plan(Workload workload, const Options& options, const Input& input,
               double hash_bytes_per_s) {
    const Size size = size_of(workload, options);
    const bool waits =
        workload == Workload::wait || workload == Workload::network || workload == Workload::mixed;
    Plan plan;
    plan.workload = workload;
    plan.tasks = size.tasks;
    plan.wait_ms = size.wait_ms;
    plan.hash_bytes = static_cast<std::uint64_t>(hash_bytes_per_s * size.cpu_ms / 1e3);
    if (workload == Workload::runaway) plan.task_limit_ms = options.task_limit_ms;
    if (workload == Workload::buffer) plan.buffer_bytes = options.buffer_mib << 20;
    plan.workers = options.workers;
    plan.pool = waits ? std::max(kPoolForWaits, options.workers) : options.workers;
    if (reads_input(workload)) plan.files = input.files;
    if (workload == Workload::shared) {
        // A word counted twice would be a wrong count: never more tasks than files.
        plan.tasks =
            plan.tasks == 0 ? input.files.size() : std::min(plan.tasks, input.files.size());
    }
    return plan;
}

std::string headline_of(const Plan& plan, const Options& options, const Input& input) {
    const std::string wait = exact_duration_text(plan.wait_ms / 1e3);
    const std::string cpu = exact_duration_text(cpu_ms_of(plan.workload, options) / 1e3);
    const std::string directory = options.input.string();
    switch (plan.workload) {
        case Workload::wait:
            return fmt::format("{} of {}, all at once", plural(plan.tasks, "wait"), wait);
        case Workload::network:
            return fmt::format("{} of a server on this machine that answers after {}, all at once",
                               plural(plan.tasks, "client"), wait);
        case Workload::shared: {
            std::uint64_t bytes = 0;
            for (std::size_t task = 0; task < plan.tasks; ++task) {
                bytes += input.sizes[plan.file_of(task)];
            }
            return fmt::format("the words of {} below {} ({}), counted into one table",
                               plural(plan.tasks, "file"), directory,
                               bytes_text(static_cast<double>(bytes)));
        }
        case Workload::cpu:
            return fmt::format("{} of SHA-256 over the files below {}, about {} each",
                               plural(plan.tasks, "task"), directory, cpu);
        case Workload::runaway:
            return fmt::format("{} of SHA-256, about {} each, but {} never ends: stopped after {}",
                               plural(plan.tasks, "task"), cpu,
                               fmt::format("one in {}", Plan::kRunawayEvery),
                               exact_duration_text(plan.task_limit_ms / 1e3));
        case Workload::buffer:
            return fmt::format("{} of {} out of the files below {}, recoded and handed back",
                               plural(plan.tasks, "buffer"),
                               bytes_text(static_cast<double>(plan.buffer_bytes)), directory);
        case Workload::mixed:
            return fmt::format("{}, all at once: wait {}, SHA-256 for about {}, wait {}",
                               plural(plan.tasks, "request"), wait, cpu, wait);
    }
    return {};
}

std::string label_of(const Model& model, const Plan& plan) {
    const bool pool = model.key == "thread-pool" || model.key == "py-threading";
    const bool processes = model.key == "processes" || model.key == "py-multiprocessing";
    if (pool) return fmt::format("{} ({})", model.label, plan.pool);
    if (processes) return fmt::format("{} ({})", model.label, plan.workers);
    return std::string(model.label);
}

}  // namespace weft_compare
