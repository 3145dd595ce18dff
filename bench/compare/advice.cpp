// Computing the advice; see advice.hpp.
#include "advice.hpp"

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "format.hpp"

namespace weft_compare {
namespace {

// Beyond this a person at a slider, or a health check, notices.
constexpr double kLateMs = 10;
// Less than this apart is called equally fast, on top of the runs' own spread.
constexpr double kEqual = 1.10;
// Less memory than this decides nothing.
constexpr double kLittleMemory = 64.0 * 1024 * 1024;
// A heartbeat on time is worth that much wall time.
constexpr double kWorthForResponse = 1.30;

using Rows = std::vector<const Row*>;

bool on_time(const Row& row) { return row.has_lag() && row.lag_p99_ms().median <= kLateMs; }

double wall_of(const Row& row) { return row.wall_s().median; }

const Row* fastest_of(const Rows& rows) {
    const auto found = std::min_element(rows.begin(), rows.end(), [](const Row* a, const Row* b) {
        return wall_of(*a) < wall_of(*b);
    });
    return found == rows.end() ? nullptr : *found;
}

template <typename Predicate>
Rows those(const Rows& rows, Predicate predicate) {
    Rows result;
    std::copy_if(rows.begin(), rows.end(), std::back_inserter(result),
                 [&](const Row* row) { return predicate(*row); });
    return result;
}

// Time, CPU and memory, each in units of the least of these rows, or of what counts at all.
const Row* cheapest_of(const Rows& rows) {
    double wall = std::numeric_limits<double>::max();
    double cpu = wall;
    double memory = wall;
    for (const Row* row : rows) {
        wall = std::min(wall, wall_of(*row));
        cpu = std::min(cpu, row->cpu_s().median);
        memory = std::min(memory, row->peak_bytes().median);
    }
    const auto cost = [&](const Row* row) {
        return wall_of(*row) / wall + row->cpu_s().median / std::max(cpu, 1e-6) +
               std::max(row->peak_bytes().median, kLittleMemory) / std::max(memory, kLittleMemory);
    };
    return *std::min_element(rows.begin(), rows.end(),
                             [&](const Row* a, const Row* b) { return cost(a) < cost(b); });
}

bool about_as_fast(const Row& row, const Row& fastest) {
    return wall_of(row) <= kEqual * wall_of(fastest) || row.wall_s().min <= fastest.wall_s().max;
}

Rows good_rows(const Section& section) {
    Rows good;
    for (const Row& row : section.rows) {
        if (row.good()) good.push_back(&row);
    }
    return good;
}

bool is_python(const Row& row) { return row.model->family == Family::python; }

// The rows that are advised on: what a C++ program can be written as, if there are any.
Rows candidates(const Section& section) {
    const Rows good = good_rows(section);
    const Rows cpp = those(good, [](const Row& row) { return !is_python(row); });
    return cpp.empty() ? good : cpp;
}

const Row* row_of(const Section& section, std::initializer_list<std::string_view> keys) {
    Rows rows = those(good_rows(section), [&](const Row& row) {
        return std::find(keys.begin(), keys.end(), row.model->key) != keys.end();
    });
    return fastest_of(rows);
}

std::string times(double a, double b) { return ratio_text(a / b); }

std::string noun_of(const Section& section) {
    switch (section.plan.workload) {
        case Workload::wait:
            return plural(section.plan.tasks, "wait");
        case Workload::network:
            return plural(section.plan.tasks, "client");
        case Workload::shared:
            return plural(section.plan.tasks, "file");
        case Workload::cpu:
        case Workload::runaway:
            return plural(section.plan.tasks, "task");
        case Workload::mixed:
            return plural(section.plan.tasks, "request");
        case Workload::buffer:
            return plural(section.plan.tasks, "buffer");
    }
    return {};
}

std::string lead(const Section& section, const Row& best) {
    std::string text =
        fmt::format("Take {}: {} in {}, {} of CPU time, {}", best.label, noun_of(section),
                    duration_text(wall_of(best)), duration_text(best.cpu_s().median),
                    bytes_text(best.peak_bytes().median));
    if (const Row* sequential = row_of(section, {"sequential"});
        sequential && sequential != &best) {
        text += fmt::format("; one after the other they take {} ({})",
                            duration_text(wall_of(*sequential)),
                            times(wall_of(*sequential), wall_of(best)));
    }
    return text + '.';
}

std::string on_response(const Section& section, const Choice& choice) {
    const Row& best = *choice.best;
    if (!best.has_lag()) return {};
    const std::string late = duration_text(best.lag_p99_ms().median / 1e3);
    if (!on_time(best)) {
        std::string text =
            fmt::format(" But while it works, a 1 ms heartbeat is {} late (p99)", late);
        if (choice.responsive == nullptr) return text + ", and no model does better than 10 ms.";
        const Row& other = *choice.responsive;
        return text + fmt::format("; the fastest that stays below 10 ms is {}: {} ({}), {} late.",
                                  other.label, duration_text(wall_of(other)),
                                  times(wall_of(other), wall_of(best)),
                                  duration_text(other.lag_p99_ms().median / 1e3));
    }
    const Row* blocked = row_of(section, {"asyncio", "asyncio-all"});
    if (blocked == nullptr || blocked == &best || !blocked->has_lag() || on_time(*blocked)) {
        return fmt::format(" A 1 ms heartbeat beside it is {} late (p99).", late);
    }
    const Workload workload = section.plan.workload;
    const bool only_waits = workload == Workload::wait || workload == Workload::network;
    return fmt::format(" A 1 ms heartbeat beside it is {} late (p99); in {}, where {}, {}.", late,
                       blocked->label,
                       only_waits ? "the heartbeat waits its turn" : "the work blocks the loop",
                       duration_text(blocked->lag_p99_ms().median / 1e3));
}

// How another one stands: "a thread per task 1.2 s (3.4×), 120 MiB".
std::string compared(const Row& other, const Row& best) {
    const double memory = other.peak_bytes().median / best.peak_bytes().median;
    std::string text = fmt::format("{} {} ({})", other.label, duration_text(wall_of(other)),
                                   times(wall_of(other), wall_of(best)));
    if (memory >= 1.5 || memory <= 1 / 1.5) {
        text += fmt::format(", {}", bytes_text(other.peak_bytes().median));
    }
    return text;
}

std::string on_others(const Section& section, const Choice& choice) {
    const Row* const kinds[] = {row_of(section, {"asyncio", "asyncio-all"}),
                                row_of(section, {"to_thread", "thread-per-task", "thread-pool"}),
                                row_of(section, {"to_process", "processes"})};
    std::string text;
    for (const Row* row : kinds) {
        const bool told =
            row == choice.best || (row == choice.responsive && !on_time(*choice.best));
        if (row == nullptr || told || is_python(*choice.best)) continue;
        text += (text.empty() ? " Others: " : "; ") + compared(*row, *choice.best);
    }
    return text.empty() ? text : text + '.';
}

// What processes cost where the data are large, and what of that SharedBuffer saves.
std::string on_copying(const Section& section) {
    const Row* const shared = row_of(section, {"to_process"});
    const Row* const copied = row_of(section, {"to_process-copy"});
    if (shared == nullptr || copied == nullptr) return {};
    return fmt::format(
        " To processes the buffers go as weft::SharedBuffer in {}, copied in {} ({}).",
        duration_text(wall_of(*shared)), duration_text(wall_of(*copied)),
        times(wall_of(*copied), wall_of(*shared)));
}

std::string on_python(const Section& section, const Choice& choice) {
    const Row* python = fastest_of(those(good_rows(section), &is_python));
    if (python == nullptr || python == choice.best) return {};
    return fmt::format(" The fastest of CPython: {}.", compared(*python, *choice.best));
}

// The same tasks without runaways, on the same cores: what the price is measured by.
const Section* calm_twin(const Section& section, const std::vector<Section>& study) {
    const auto twin = std::find_if(study.begin(), study.end(), [&](const Section& other) {
        return other.plan.workload == Workload::cpu && other.plan.tasks == section.plan.tasks &&
               other.plan.hash_bytes == section.plan.hash_bytes &&
               other.plan.workers == section.plan.workers;
    });
    return twin == study.end() ? nullptr : &*twin;
}

std::string on_runaways(const Section& section, const Choice& choice,
                        const std::vector<Section>& study) {
    const Plan& plan = section.plan;
    if (plan.workload != Workload::runaway) return {};
    std::string text = fmt::format(
        " Nothing but a process can be stopped in the middle of a computation that does "
        "not listen; {} of these {} had to be.",
        count_text(plan.runaways()), count_text(plan.tasks));
    const Section* const twin = calm_twin(section, study);
    const Row* const calm = twin != nullptr ? choose(*twin).fastest : nullptr;
    if (calm == nullptr) return text;
    const double waited_s = static_cast<double>(plan.runaways()) * plan.task_limit_ms / 1e3;
    const double limits_s = waited_s / plan.workers;
    const double price_s = std::max(0.0, wall_of(*choice.best) - wall_of(*calm));
    // A runaway that is stopped does not do its work, so the price may be less than the limits.
    const char* const share = limits_s <= price_s
                                  ? "{} of it are the time limits themselves, on {}."
                                  : "the time limits alone take {}, on {}.";
    text += fmt::format(" All of them well-behaved (cpu) take {} in {}, so the price is {} ({}); ",
                        duration_text(wall_of(*calm)), calm->label, duration_text(price_s),
                        times(wall_of(*choice.best), wall_of(*calm)));
    return text +
           fmt::format(fmt::runtime(share), duration_text(limits_s), plural(plan.workers, "core"));
}

}  // namespace

Choice choose(const Section& section) {
    const Rows rows = candidates(section);
    Choice choice;
    choice.fastest = fastest_of(rows);
    if (choice.fastest == nullptr) return choice;
    choice.responsive = fastest_of(those(rows, &on_time));
    const bool respond =
        choice.responsive != nullptr &&
        wall_of(*choice.responsive) <= kWorthForResponse * wall_of(*choice.fastest);
    const Row& measure = respond ? *choice.responsive : *choice.fastest;
    choice.best = cheapest_of(those(rows, [&](const Row& row) {
        return about_as_fast(row, measure) && (!respond || on_time(row));
    }));
    return choice;
}

std::string advice_on(const Section& section, const std::vector<Section>& study) {
    const Choice choice = choose(section);
    if (choice.best == nullptr) return "No model gave a result, so there is nothing to advise.";
    return lead(section, *choice.best) + on_runaways(section, choice, study) +
           on_response(section, choice) + on_others(section, choice) + on_copying(section) +
           on_python(section, choice);
}

}  // namespace weft_compare
