// The figures of a study: what one run measured, a model's runs together as a row, a workload's rows as a section.
//
// All reports and the advice read these; study.cpp fills them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "measure.hpp"
#include "models.hpp"
#include "plan.hpp"

namespace weft_compare {

struct Sample {
    double wall_s = 0;
    double cpu_s = 0;
    std::uint64_t peak_bytes = 0;
    std::optional<Lag> lag;
    std::string checksum;
    std::uint64_t words = 0;
    std::uint64_t distinct_words = 0;
    std::size_t unreadable = 0;
    std::vector<std::string> unreadable_names;  // the first few
};

enum class Ending {
    done,
    cannot,  // this size is too much for this model here
    failed,  // crashed, or an error that is not about the size
};

// The median of some runs and how far they lie apart.
struct Spread {
    double median = 0;
    double min = 0;
    double max = 0;

    double relative() const { return median > 0 ? (max - min) / 2 / median : 0; }
};

struct Row {
    const Model* model = nullptr;
    std::string label;  // of this model in this workload
    Ending ending = Ending::done;
    std::string why;           // where not done
    std::string said;          // to stderr, by the last run
    bool differs = false;      // done, but with another result than most
    std::vector<Sample> runs;  // one at least where done

    bool good() const { return ending == Ending::done && !differs; }
    Spread wall_s() const;
    Spread cpu_s() const;
    Spread peak_bytes() const;
    Spread lag_p99_ms() const;  // of a row that has_lag
    double lag_max_ms() const;
    bool has_lag() const { return !runs.empty() && runs.front().lag.has_value(); }
    double tasks_per_s(std::size_t tasks) const;
};

struct Section {
    Plan plan;             // without its files
    double cpu_ms = 0;     // what was aimed at; 0 where the workload has no CPU part
    std::string headline;  // "10,000 waits of 20 ms, all at once"
    std::string checksum;  // that the good rows agree on
    std::vector<Row> rows;
};

}  // namespace weft_compare
