// Serving, and starting who serves; see server.hpp.
#include "server.hpp"

#include <weft/weft.hpp>

#include <charconv>
#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>

#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "workload.hpp"

namespace weft_compare {
namespace {

constexpr std::chrono::milliseconds kPatience{10'000};
constexpr int kBacklog = 65'535;  // as many as the kernel grants: all clients come at once

template <typename Number>
Number number_of(std::string_view text) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) {
        throw std::runtime_error(fmt::format("'{}' is no number", text));
    }
    return number;
}

// "1234\n", which it prints when it listens.
std::uint16_t port_of(ChildProcess& process) {
    std::string line;
    char part[16];
    while (line.empty() || line.back() != '\n') {
        pollfd out{process.out(), POLLIN, 0};
        const bool ready = ::poll(&out, 1, static_cast<int>(kPatience.count())) == 1;
        const ssize_t got = ready ? ::read(process.out(), part, sizeof part) : 0;
        if (got <= 0) {
            throw std::runtime_error(
                fmt::format("the server of --workload network did not start: {}", process.said()));
        }
        line.append(part, static_cast<std::size_t>(got));
    }
    line.pop_back();
    return number_of<std::uint16_t>(line);
}

void answer(weft::TcpStream client, std::chrono::nanoseconds wait) {
    try {
        std::string line = client.readuntil("\n");
        line.pop_back();
        weft::sleep(wait);
        client.write(fmt::format("{}\n", wait_result(number_of<std::uint64_t>(line)).value));
    } catch (const std::system_error&) {
        // The client has gone: its model was stopped.
    } catch (const weft::IncompleteReadError&) {
    }
}

}  // namespace

Server::Server(const Plan& plan)
    : process_({std::string(kServeOption), std::to_string(wait_of(plan).count()),
                std::to_string(plan.workers), std::to_string(::getpid())}),
      port_(port_of(process_)) {}

int run_server(std::string_view wait_ns, std::string_view workers, std::string_view supervisor) {
    if (!end_with_supervisor(supervisor)) return 1;
    const std::chrono::nanoseconds wait{number_of<std::int64_t>(wait_ns)};
    weft::run(
        [&] {
            auto server = weft::start_server(
                [wait](weft::TcpStream client) { answer(std::move(client), wait); }, "127.0.0.1", 0,
                {.backlog = kBacklog});
            fmt::print("{}\n", server.port());
            std::fflush(stdout);
            server.serve_forever();
        },
        {.workers = number_of<unsigned>(workers)});
    return 0;
}

void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace weft_compare
