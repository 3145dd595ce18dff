#include <weft/testing.hpp>

#include <cstdio>
#include <stdexcept>
#include <string>

#include "detail/simulation_request.hpp"

namespace weft::detail {

namespace {

thread_local const SimulationRequest* this_threads_request = nullptr;

}  // namespace

SimulationRequest::SimulationRequest(std::uint64_t s, testing::SimulationReport* r,
                                     const testing::NetworkOptions& n)
    : seed(s), report(r), network(n) {
    require_sense(n);
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

void require_sense(const testing::NetworkOptions& network) {
    auto refuse = [](const char* why) {
        throw std::invalid_argument(std::string("weft::testing::NetworkOptions: ") + why);
    };
    if (network.buffer == 0) refuse("buffer is 0: nobody could write");
    if (network.least_delay < Duration::zero()) refuse("least_delay is negative");
    if (network.most_delay < network.least_delay) refuse("most_delay is less than least_delay");
    if (!(network.reset_probability >= 0 && network.reset_probability <= 1))
        refuse("reset_probability is not between 0 and 1");
}

void name_failed_seed(std::uint64_t seed) noexcept {
    std::fprintf(
        stderr,
        "weft: the simulation failed with seed %llu; run it again with simulate(%llu, ...)\n",
        static_cast<unsigned long long>(seed), static_cast<unsigned long long>(seed));
}

}  // namespace weft::detail
