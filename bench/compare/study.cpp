// The order of the runs and the comparison of their results; see study.hpp.
#include "study.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "format.hpp"
#include "server.hpp"
#include "sizes.hpp"
#include "supervise.hpp"

namespace weft_compare {
namespace {

// A row that has taken this long already is not repeated: its noise is small beside its time, and
// the reader waits.
constexpr double kEnoughSecondsPerRow = 2.5;

using Result = std::tuple<std::string, std::uint64_t, std::uint64_t>;

Result result_of(const Sample& sample) {
    return {sample.checksum, sample.words, sample.distinct_words};
}

// The result that most runs agree on is taken as right; who has another one is marked.
void check_results(Section& section) {
    std::map<Result, std::size_t> votes;
    for (const Row& row : section.rows) {
        for (const Sample& run : row.runs) ++votes[result_of(run)];
    }
    if (votes.empty()) return;
    const Result right =
        std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) {
            return a.second < b.second;
        })->first;
    section.checksum = std::get<0>(right);
    for (Row& row : section.rows) {
        for (const Sample& run : row.runs) {
            if (result_of(run) == right) continue;
            row.differs = true;
            row.why = fmt::format("its result {} differs from the others' {}", run.checksum,
                                  section.checksum);
            if (run.unreadable > 0) {
                row.why +=
                    fmt::format(" ({} could not be read: {} ...)", plural(run.unreadable, "file"),
                                run.unreadable_names.front());
            }
        }
    }
}

// Waits alone would take longer than the reader wants to wait: then the arithmetic is the answer.
std::string hopeless(const Model& model, const Plan& plan, double limit_s) {
    const auto at_once = wait_limit(model, plan);
    if (!at_once || plan.wait_ms <= 0) return {};
    const double waits = plan.workload == Workload::mixed ? 2 : 1;
    const double rounds = static_cast<double>((plan.tasks + *at_once - 1) / *at_once);
    const double seconds = rounds * waits * plan.wait_ms / 1e3;
    if (seconds <= limit_s) return {};
    return fmt::format("{} at a time, the waits alone take {} (limit {})", count_text(*at_once),
                       duration_text(seconds), exact_duration_text(limit_s));
}

class Runner {
public:
    Runner(const Options& options, Watcher& watcher, const Machine& machine)
        : options_(options), watcher_(watcher), machine_(machine) {}

    void run(Section& section, const Plan& plan) {
        const PlanFile file(plan);
        for (const Model* model : options_.models) {
            if (!applies(*model, plan.workload)) {
                watcher_.finished(options_.repeat);
                continue;
            }
            section.rows.push_back(
                {model, label_of(*model, plan), Ending::done, {}, {}, false, {}});
        }
        for (unsigned round = 0; round < options_.repeat; ++round) {
            for (Row& row : section.rows) run_once(row, plan, file, round);
        }
        check_results(section);
    }

private:
    void run_once(Row& row, const Plan& plan, const PlanFile& file, unsigned round) {
        watcher_.running(name_of(plan.workload), row.label, round);
        if (round == 0) rule_out(row, plan);
        if (row.ending == Ending::done && spent_s(row) < kEnoughSecondsPerRow) {
            // Only waits can be foreseen, so a model may turn out to take longer than the limit;
            // three times as long is then still an answer.
            const std::chrono::duration<double> limit(3 * options_.limit_s);
            Attempt attempt = run_in_child(*row.model, file, limit, [this] { watcher_.tick(); });
            row.ending = attempt.ending;
            row.why = std::move(attempt.why);
            row.said = std::move(attempt.said);
            if (attempt.ending == Ending::done) {
                row.runs.push_back(std::move(attempt.sample));
            } else {
                row.runs.clear();
            }
        }
        watcher_.finished(1);
    }

    void rule_out(Row& row, const Plan& plan) const {
        if (row.model->family == Family::python && !machine_.python) {
            row.why = "python3 (3.9 or later) is not on this machine";
        } else {
            row.why = unable(*row.model, plan);
            if (row.why.empty()) row.why = hopeless(*row.model, plan, options_.limit_s);
        }
        if (!row.why.empty()) row.ending = Ending::cannot;
    }

    static double spent_s(const Row& row) {
        double sum = 0;
        for (const Sample& run : row.runs) sum += run.wall_s;
        return sum;
    }

    const Options& options_;
    Watcher& watcher_;
    const Machine& machine_;
};

}  // namespace

bool Study::all_well() const {
    for (const Section& section : sections) {
        for (const Row& row : section.rows) {
            if (row.ending == Ending::failed || row.differs) return false;
        }
    }
    return true;
}

std::string Study::caution() const {
    constexpr double kQuiet = 0.05;
    if (elsewhere < kQuiet) return {};
    return fmt::format(
        "This machine was busy with other work: {} of its CPU time went elsewhere, so the figures "
        "are "
        "worse than they should be, and not all by the same amount.",
        percent_text(elsewhere));
}

Study run_study(const Options& options, Watcher& watcher) {
    const Clock::time_point start = Clock::now();
    const OtherLoad load;
    Study study{look_at_machine(), options, {}, {}, 0, 0};
    const auto& workloads = options.workloads;
    watcher.planned(workloads.size() * options.models.size() * options.repeat);
    if (std::any_of(workloads.begin(), workloads.end(), &reads_input)) {
        study.input = read_input(options.input, [&](std::size_t done, std::size_t total) {
            watcher.reading(done, total);
        });
        watcher.unreadable(study.input.unreadable);
        if (study.input.files.empty()) {
            throw BadOptions(
                fmt::format("--input: there is no readable file below {}", options.input.string()));
        }
    }
    const double bytes_per_s = hash_rate();
    Runner runner(options, watcher, study.machine);
    for (const Workload workload : workloads) {
        Plan plan = make_plan(workload, options, study.input, bytes_per_s);
        study.sections.push_back(
            {plan, cpu_ms_of(workload, options), headline_of(plan, options, study.input), {}, {}});
        Section& section = study.sections.back();
        section.plan.files.clear();
        std::optional<Server> server;
        if (workload == Workload::network) plan.port = server.emplace(plan).port();
        runner.run(section, plan);
    }
    study.took_s = std::chrono::duration<double>(Clock::now() - start).count();
    study.elsewhere = load.share();
    return study;
}

}  // namespace weft_compare
