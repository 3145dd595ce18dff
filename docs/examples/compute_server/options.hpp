// What the command line says.
#pragma once

#include <weft/run.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>

namespace compute_server {

struct Options {
    std::string host = "127.0.0.1";
    int port = 8080;
    unsigned workers = 0;              ///< 0: one for each core
    std::ptrdiff_t compute_limit = 0;  ///< 0: one for each worker
    int arena_nice = 19;
    weft::CoreBudget core_budget = weft::CoreBudget::yielding;
    std::string cert;  ///< PEM files; empty: no TLS
    std::string key;
    std::chrono::nanoseconds request_timeout = std::chrono::seconds(10);
    std::chrono::nanoseconds grace = std::chrono::seconds(10);
};

/// One line for whoever started the program.
class BadOption : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Empty: --help was asked for, and has been answered. BadOption.
std::optional<Options> parse_options(int argc, char** argv);

}  // namespace compute_server
