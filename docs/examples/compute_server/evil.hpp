// Functions that no program would want in its own process.
#pragma once

#include <weft/process.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace compute_server {

/// How such a function ended, for whoever asked for it.
struct EvilEnd {
    bool timed_out = false;
    std::string what;
};

class Evil {
public:
    static const std::vector<std::string_view>& ways();

    /// Runs the function of that name in a process of its own and says what became of it. Waits.
    EvilEnd run(std::string_view way);

private:
    static constexpr auto kTimeLimit = std::chrono::seconds(2);

    // Not to_process()'s own: what they leave behind, a memory limit, stays among themselves.
    weft::ProcessPool pool_{{.workers = 2}};
};

}  // namespace compute_server
