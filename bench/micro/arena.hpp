// The same round on oneTBB: an arena of so many threads, the measuring one included.
#pragma once

#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include "measure.hpp"

namespace micro {

template <class Round>
void time_in_tbb(benchmark::State& state, double ops_per_round, Round&& round) {
    tbb::global_control threads(tbb::global_control::max_allowed_parallelism, workers_of(state));
    tbb::task_arena arena(static_cast<int>(workers_of(state)));
    arena.execute([&] { time_rounds(state, ops_per_round, round); });
}

}  // namespace micro
