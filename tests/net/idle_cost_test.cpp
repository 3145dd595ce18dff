// What a connection costs that nobody uses just now: the design allows it 6 KiB of this process's memory. (Kernel memory
// comes on top, as with any server.)
#include <algorithm>
#include <fstream>
#include <optional>

#include <sys/prctl.h>

#include "net_support.hpp"
#include "sanitizers.hpp"

namespace weft::test {

namespace {

class IdleCostTest : public WithWatchdog {};

/// Sanitizers have memory of their own, and frames that are not optimised are larger than a page.
#ifdef __OPTIMIZE__
constexpr bool kAsForUsers = !WEFT_ASAN && !WEFT_TSAN;
#else
constexpr bool kAsForUsers = false;
#endif

/// Not VmRSS, which the kernel counts in batches.
std::size_t resident_bytes() {
    std::ifstream table("/proc/self/smaps_rollup");
    for (std::string word; table >> word;) {
        std::size_t kib = 0;
        if (word == "Rss:" && table >> kib) return kib * 1024;
    }
    return 0;
}

rlim_t most_descriptors() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_max;
}

/// Bytes for each of `wanted` connections that have been served once and say nothing more. The clients are sockets alone.
template <class Handler>
std::size_t cost_of_one(Handler&& handler, std::size_t wanted) {
    std::size_t cost = 0;
    auto measure = [&] {
        Server server = start_server(handler, "127.0.0.1", 0);
        std::vector<std::optional<PlainClient>> clients(wanted);
        std::size_t connected = 0;
        auto connect_until = [&](std::size_t n) {
            for (; connected < n; ++connected) {
                PlainClient& client = clients[connected].emplace(server.port());
                client.write("hello\n");
                wait_readable(client.fd());
                EXPECT_EQ(client.read(100), "hello\n");
            }
            settle();
        };
        // What the first ones cost is not for themselves alone.
        const std::size_t first = wanted / 10;
        connect_until(first);
        const std::size_t before = resident_bytes();
        connect_until(wanted);
        const std::size_t after = resident_bytes();
        EXPECT_EQ(server.connections(), wanted);
        cost = (std::max(after, before) - before) / (wanted - first);
        for (auto& client : clients) client->abort();  // no TIME_WAIT is left behind
        server.cancel();
        server.wait_closed();
    };
    weft::run(measure,
              {.workers = 2, .exception_handler = [](const ExceptionContext&) { /* resets */ }});
    return cost;
}

/// For a process that has run nothing before: stacks that other tests have left would cost nothing.
template <class Handler>
void exit_with_0_if_cheap(Handler&& handler, std::size_t wanted) {
    ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);  // a huge page of the heap would be shared by few
    const std::size_t cost = cost_of_one(handler, wanted);
    std::fprintf(stderr, "%zu bytes for each of %zu\n", cost, wanted);
    std::_Exit(cost > 1'000 && cost <= 6 * 1024 && !::testing::Test::HasFailure() ? 0 : 1);
}

TEST_F(IdleCostTest, AConnectionThatWaitsCostsSixKibibytesAtMost) {
    if (!kAsForUsers) GTEST_SKIP() << "no memory is measured in such a build";
    Limit all(RLIMIT_NOFILE, most_descriptors());
    // Both ends of each are in one process.
    const rlim_t others = open_descriptors() + 30;
    const std::size_t wanted =
        std::min<rlim_t>(2'000, (std::max(most_descriptors(), others) - others) / 2);
    if (wanted < 200) GTEST_SKIP() << "RLIMIT_NOFILE is too low";
    if (resident_bytes() == 0) GTEST_SKIP() << "this kernel has no smaps_rollup";
    auto by_bytes = [](TcpStream stream) {
        char bytes[1024];
        while (std::size_t n = stream.read_some(bytes, sizeof bytes)) stream.write({bytes, n});
    };
    // What is read ahead of a line is kept for no longer than there is something in it.
    auto by_lines = [](TcpStream stream) {
        for (std::string line; !(line = stream.readline()).empty();) stream.write(line);
    };
    EXPECT_EXIT(exit_with_0_if_cheap(by_bytes, wanted), ::testing::ExitedWithCode(0), "");
    EXPECT_EXIT(exit_with_0_if_cheap(by_lines, wanted), ::testing::ExitedWithCode(0), "");
}

}  // namespace

}  // namespace weft::test
