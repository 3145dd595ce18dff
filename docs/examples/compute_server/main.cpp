// A compute server, as people embed one: HTTP/1.1, WebSocket and TLS by Boost.Beast over weft's streams; computations on an
// arena, on threads and in processes. README.md has the commands to try.
#include <weft/weft.hpp>

#include <csignal>
#include <exception>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <boost/asio/ssl/context.hpp>
#include <sys/resource.h>

#include "connection.hpp"
#include "options.hpp"
#include "service.hpp"

namespace compute_server {

namespace {

namespace ssl = boost::asio::ssl;

constexpr std::size_t kConnectionsMost = 10'000;

std::unique_ptr<ssl::context> make_tls(const Options& options) {
    if (options.cert.empty()) return nullptr;
    auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
    context->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 |
                         ssl::context::no_tlsv1_1);
    try {
        context->use_certificate_chain_file(options.cert);
        context->use_private_key_file(options.key, ssl::context::pem);
    } catch (const boost::system::system_error& e) {
        throw BadOption("--cert and --key cannot be used: " + e.code().message());
    }
    return context;
}

/// Each connection is a descriptor, and the usual limit is 1,024.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Lets those finish who have asked, for as long as they are given; another signal ends the patience.
void end_gracefully(weft::Server& server, Service& service, weft::SignalQueue& signals) {
    server.close();
    service.drain.begin();
    auto closed = weft::create_task([&] { server.wait_closed(); });
    weft::Queue<int> impatience;
    auto listener = weft::create_task([&] { impatience.put(signals.get()); });
    auto give_up = [&] { server.cancel(); };
    weft::select(weft::on(closed), weft::on_get(impatience, [&](int) { give_up(); }),
                 weft::on_timeout(service.options.grace, give_up));
    weft::await(closed);
    listener.cancel();
    weft::wait({listener});
}

void serve(const Options& options, ssl::context* tls) {
    std::ptrdiff_t limit = options.compute_limit;
    if (limit == 0) limit = weft::current_runtime().workers();
    Service service(options, limit);
    weft::SignalQueue signals = weft::signals({SIGTERM, SIGINT});
    weft::Server server = weft::start_server(
        [&](weft::TcpStream stream) { serve_connection(service, tls, std::move(stream)); },
        options.host, options.port, {.max_connections = kConnectionsMost});
    for (const weft::SocketAddress& address : server.addresses())
        std::cout << "listening on http" << (tls != nullptr ? "s" : "") << "://"
                  << address.to_string() << std::endl;
    signals.get();
    end_gracefully(server, service, signals);
}

}  // namespace

}  // namespace compute_server

int main(int argc, char** argv) {
    using namespace compute_server;
    try {
        std::optional<Options> options = parse_options(argc, argv);
        if (!options) return 0;
        auto tls = make_tls(*options);
        raise_descriptor_limit();
        weft::run([&] { serve(*options, tls.get()); }, {.workers = options->workers,
                                                        .arena_nice = options->arena_nice,
                                                        .core_budget = options->core_budget});
        return 0;
    } catch (const BadOption& e) {
        std::cerr << "compute_server: " << e.what() << std::endl;
        return 2;
    } catch (const std::exception& e) {
        std::cerr << "compute_server: " << e.what() << std::endl;
        return 1;
    }
}
