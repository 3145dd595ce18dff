#include "options.hpp"

#include <iostream>
#include <map>
#include <string>

#include <CLI/CLI.hpp>

namespace compute_server {

namespace {

std::chrono::nanoseconds nanoseconds_of(double seconds) {
    return std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(seconds * 1e9));
}

/// CLI11's messages may have several lines.
std::string one_line(std::string text) {
    while (!text.empty() && text.back() == '\n') text.pop_back();
    for (char& c : text)
        if (c == '\n') c = ' ';
    return text;
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv) {
    Options options;
    double request_timeout = 10;
    double grace = 10;
    CLI::App app("Computes over HTTP/1.1 and WebSocket.", "compute_server");
    app.add_option("--host", options.host, "Address to listen on; \"\" is every one")
        ->capture_default_str();
    app.add_option("--port", options.port, "0: any free one")
        ->check(CLI::Range(0, 65535))
        ->capture_default_str();
    app.add_option("--workers", options.workers, "Threads that run tasks [one for each core]")
        ->check(CLI::Range(1, 1024));
    app.add_option("--compute-limit", options.compute_limit,
                   "Computations at once; beyond that 503 [one for each worker]")
        ->check(CLI::Range(1, 100'000));
    app.add_option("--arena-nice", options.arena_nice,
                   "Added to the nice value of the threads that compute pictures")
        ->check(CLI::Range(0, 19))
        ->capture_default_str();
    const std::map<std::string, weft::CoreBudget> budgets{{"off", weft::CoreBudget::off},
                                                          {"yielding", weft::CoreBudget::yielding},
                                                          {"strict", weft::CoreBudget::strict}};
    app.add_option("--core-budget", options.core_budget,
                   "How those threads and the workers share the cores [yielding]")
        ->transform(CLI::CheckedTransformer(budgets));
    CLI::Option* cert = app.add_option("--cert", options.cert, "Certificate chain, PEM: serve TLS")
                            ->check(CLI::ExistingFile);
    CLI::Option* key = app.add_option("--key", options.key, "The certificate's private key, PEM")
                           ->check(CLI::ExistingFile);
    cert->needs(key);
    key->needs(cert);
    app.add_option("--request-timeout", request_timeout, "Seconds a request may take to arrive")
        ->check(CLI::Range(0.01, 3600.0))
        ->capture_default_str();
    app.add_option("--grace", grace, "Seconds that SIGTERM leaves to what is in flight")
        ->check(CLI::Range(0.0, 3600.0))
        ->capture_default_str();
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return std::nullopt;
    } catch (const CLI::ParseError& e) {
        throw BadOption(one_line(e.what()));
    }
    options.request_timeout = nanoseconds_of(request_timeout);
    options.grace = nanoseconds_of(grace);
    return options;
}

}  // namespace compute_server
