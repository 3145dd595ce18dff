// Between testing.cpp and run.cpp: which runtimes are simulated, and what is said at their end.
#pragma once

#include <weft/detail/engine.hpp>

namespace weft::detail {

class SimulationRequest;

/// The one that is open on this thread, or null.
const SimulationRequest* requested_simulation() noexcept;
/// Fills in the request's report; or, where WEFT_SEED asked for the simulation, prints the line about it.
void simulation_ended(const SimulationState& simulation) noexcept;

}  // namespace weft::detail
