// The study: every chosen workload under every chosen model, repeated; and what came of it.
//
// Repeats go round by round through the models, not model by model: a machine that is slow for ten
// seconds then slows one run of many models instead of all runs of one.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "figures.hpp"
#include "input.hpp"
#include "machine.hpp"
#include "options.hpp"

namespace weft_compare {

struct Study {
    Machine machine;
    Options options;
    Input input;  // empty where no workload reads it
    std::vector<Section> sections;
    double took_s = 0;
    double elsewhere = 0;  // the share of the machine's CPU time that others had meanwhile

    bool all_well() const;  // no row failed or differs
    // What a reader should know before trusting the figures; empty on a quiet machine.
    std::string caution() const;
};

// What the study tells while it goes on.
struct Watcher {
    virtual ~Watcher() = default;
    virtual void reading(std::size_t done, std::size_t total) = 0;
    virtual void unreadable(const std::vector<Unreadable>& files) = 0;
    virtual void planned(std::size_t runs) = 0;  // of all workloads together, at most
    virtual void running(std::string_view workload, std::string_view model, unsigned round) = 0;
    virtual void tick() = 0;
    virtual void finished(std::size_t runs) = 0;  // runs done, or not to be done any more
};

Study run_study(const Options& options, Watcher& watcher);

}  // namespace weft_compare
