// Medians and spreads; see figures.hpp.
#include "figures.hpp"

#include <algorithm>

namespace weft_compare {
namespace {

template <typename Figure>
Spread spread_of(const std::vector<Sample>& runs, Figure figure) {
    std::vector<double> values;
    values.reserve(runs.size());
    for (const Sample& run : runs) values.push_back(figure(run));
    if (values.empty()) return {};
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    const double median =
        values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    return {median, values.front(), values.back()};
}

}  // namespace

Spread Row::wall_s() const {
    return spread_of(runs, [](const Sample& run) { return run.wall_s; });
}

Spread Row::cpu_s() const {
    return spread_of(runs, [](const Sample& run) { return run.cpu_s; });
}

Spread Row::peak_bytes() const {
    return spread_of(runs, [](const Sample& run) { return static_cast<double>(run.peak_bytes); });
}

Spread Row::lag_p99_ms() const {
    return spread_of(runs, [](const Sample& run) { return run.lag ? run.lag->p99_ms : 0; });
}

double Row::lag_max_ms() const {
    return spread_of(runs, [](const Sample& run) { return run.lag ? run.lag->max_ms : 0; }).max;
}

double Row::tasks_per_s(std::size_t tasks) const {
    const double seconds = wall_s().median;
    return seconds > 0 ? static_cast<double>(tasks) / seconds : 0;
}

}  // namespace weft_compare
