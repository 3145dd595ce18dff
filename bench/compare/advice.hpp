// Which model to take for a workload, and the figures that say so.
//
// The rule, in this order: of the models that gave the right result, those that are about as fast
// as the fastest; of them those whose heartbeat stays on time, unless that costs too much; of them
// the one that is cheapest in time, CPU and memory together. CPython's rows are told beside it:
// they answer another question.
//
// Of Workload::runaway it also tells who could do it at all, and what its time limits have cost: how
// much longer it took than Workload::cpu without them, in the fastest model there.
#pragma once

#include <string>
#include <vector>

#include "figures.hpp"

namespace weft_compare {

struct Choice {
    const Row* best = nullptr;     // what to take; null where nothing ran
    const Row* fastest = nullptr;  // by wall time alone
    const Row* responsive =
        nullptr;  // the fastest whose heartbeat is on time; null where there is none
};

Choice choose(const Section& section);

// Some sentences, each with the figures it rests on. study: all sections, for what others can say.
std::string advice_on(const Section& section, const std::vector<Section>& study);

}  // namespace weft_compare
