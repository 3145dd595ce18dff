// Testing programs that use weft: virtual time, and one seed that decides every schedule.
#pragma once

#include <weft/detail/simulated_network.hpp>
#include <weft/run.hpp>

#include <cstdint>
#include <type_traits>
#include <utility>

namespace weft::testing {

using detail::NetworkOptions;

/// What a simulation did.
struct SimulationReport {
    Duration elapsed{};  ///< virtual time from start to end
    std::uint64_t schedule_hash =
        0;  ///< equal for equal seeds, if the program is deterministic by itself
};

}  // namespace weft::testing

namespace weft::detail {

/// While it lives, runtimes made on this thread are simulated.
class SimulationRequest {
public:
    SimulationRequest(std::uint64_t seed, testing::SimulationReport* report,
                      const testing::NetworkOptions& network);
    ~SimulationRequest();
    SimulationRequest(const SimulationRequest&) = delete;
    SimulationRequest& operator=(const SimulationRequest&) = delete;

    const std::uint64_t seed;
    testing::SimulationReport* const report;
    const testing::NetworkOptions network;
};

void require_sense(const testing::NetworkOptions& network);
void name_failed_seed(std::uint64_t seed) noexcept;

}  // namespace weft::detail

namespace weft::testing {

/// Runs f as weft::run does, on virtual workers on this one thread, in virtual time: sleeping costs none, and the seed
/// decides every choice of the scheduler and of the network, which is one of its own unless `network` says otherwise: a
/// server and its clients are tasks of f. A program in which all tasks wait, and nothing is due or under way outside,
/// is reported as a deadlock with its tasks, and the process aborts. std::invalid_argument: a network that cannot be.
template <detail::Startable F>
decltype(auto) simulate(std::uint64_t seed, F&& f, const RunOptions& options = {},
                        SimulationReport* report = nullptr, const NetworkOptions& network = {}) {
    detail::SimulationRequest request(seed, report, network);
    return weft::run(std::forward<F>(f), options);
}

/// Runs f with the seeds 1..n; for a failing one, throws what it threw, having named the seed on stderr.
template <class F>
void explore(std::uint64_t n, F&& f, const RunOptions& options = {},
             const NetworkOptions& network = {}) {
    detail::require_sense(network);
    for (std::uint64_t seed = 1; seed <= n; ++seed) {
        try {
            simulate(seed, [&f] { f(); }, options, nullptr, network);
        } catch (...) {
            detail::name_failed_seed(seed);
            throw;
        }
    }
}

}  // namespace weft::testing
