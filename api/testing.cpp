#include <weft/testing.hpp>

#include <cstdio>

#include "detail/simulation_request.hpp"

namespace weft::detail {

namespace {

thread_local const SimulationRequest* this_threads_request = nullptr;

}  // namespace

SimulationRequest::SimulationRequest(std::uint64_t s, testing::SimulationReport* r,
                                     const testing::NetworkOptions& n) noexcept
    : seed(s), report(r), network(n) {
    this_threads_request = this;
}

SimulationRequest::~SimulationRequest() { this_threads_request = nullptr; }

const SimulationRequest* requested_simulation() noexcept { return this_threads_request; }

void simulation_ended(const SimulationState& simulation) noexcept {
    if (const SimulationRequest* request = requested_simulation()) {
        if (request->report != nullptr)
            *request->report = {simulation.elapsed, simulation.schedule_hash};
        return;
    }
    std::fprintf(stderr, "weft: simulation with seed %llu ended at %.6f s\n",
                 static_cast<unsigned long long>(simulation.seed),
                 std::chrono::duration<double>(simulation.elapsed).count());
}

void name_failed_seed(std::uint64_t seed) noexcept {
    std::fprintf(
        stderr,
        "weft: the simulation failed with seed %llu; run it again with simulate(%llu, ...)\n",
        static_cast<unsigned long long>(seed), static_cast<unsigned long long>(seed));
}

}  // namespace weft::detail
