// How a model test asks the explorer: a protocol must hold in every schedule tried, a planted bug must be found.
#pragma once

#include <cstdlib>
#include <iostream>

#include <gtest/gtest.h>

#include "explorer.hpp"

namespace weft::model {

struct Effort {
    std::uint64_t random = 50'000;
    std::uint64_t pct = 100'000;
    std::uint64_t exhaustive = 300'000;
    unsigned preemptions = 2;
};

/// Explores in all three ways, and prints how far it came.
inline void expect_holds(const Scenario& scenario, const Effort& most = {}) {
    for (Strategy strategy : {Strategy::exhaustive, Strategy::pct, Strategy::random}) {
        bool exhaustive = strategy == Strategy::exhaustive;
        Plan plan{.strategy = strategy,
                  .executions = exhaustive                  ? most.exhaustive
                                : strategy == Strategy::pct ? most.pct
                                                            : most.random,
                  .preemptions = most.preemptions};
        Report report = explore(scenario, plan);
        const char* name = exhaustive ? "exhaustive" : strategy == Strategy::pct ? "pct" : "random";
        std::cout << "  " << name << ": " << report.text() << '\n';
        EXPECT_FALSE(report.failure) << name << ": " << report.text();
        if (report.failure) return;
    }
}

/// At least one of the three finds a failing schedule, and the schedule fails again when it is replayed.
inline void expect_found(const Scenario& scenario, const Effort& most = {}) {
    if (std::getenv("WEFT_MODEL_SCHEDULE") != nullptr)
        GTEST_SKIP() << "a single schedule is asked for";
    bool found = false;
    for (Strategy strategy : {Strategy::pct, Strategy::random, Strategy::exhaustive}) {
        Plan plan{
            .strategy = strategy, .executions = most.exhaustive, .preemptions = most.preemptions};
        Report report = explore(scenario, plan);
        if (!report.failure) continue;
        found = true;
        Report again = replay(scenario, report.failure->schedule);
        EXPECT_TRUE(again.failure) << "does not fail when replayed: " << report.text();
        if (again.failure) {
            EXPECT_EQ(again.failure->what, report.failure->what);
        }
        std::cout << "  found in execution " << report.failure->execution << ": "
                  << report.failure->what << '\n';
    }
    EXPECT_TRUE(found) << "the planted bug was not found";
}

}  // namespace weft::model
