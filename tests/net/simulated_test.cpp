// The kernel's sockets under virtual time: time goes on though somebody listens, and what is on its way comes first.
#include <weft/testing.hpp>

#include "net_support.hpp"

namespace weft::test {

namespace {

class SimulatedNetTest : public OnSockets {};
WEFT_TEST_IN_VIRTUAL_TIME(SimulatedNetTest);

TEST_P(SimulatedNetTest, TimeGoesOnWhileAServerListens) {
    auto main = [] {
        Server server = start_server(
            [](TcpStream stream) {
                while (std::size_t n = stream.read(100).size()) {
                    weft::sleep(1h);
                    stream.write(std::to_string(n));
                }
            },
            "127.0.0.1", 0);
        weft::sleep(24h);
        TcpStream client = open_connection("127.0.0.1", server.port());
        TimePoint begin = now();
        client.write("12345");
        EXPECT_EQ(client.readexactly(1), "5");
        EXPECT_EQ(now() - begin, 1h);
        EXPECT_THROW(timeout(30min, [&] { client.read(1); }), TimeoutError);
        EXPECT_EQ(now() - begin, 90min);
    };
    for (std::uint64_t seed = 1; seed <= 5; ++seed)
        testing::simulate(seed, main, options(), nullptr, {.in_memory = false});
}

// A file's call is real work on a thread: time stands still until it is over.
TEST_P(SimulatedNetTest, FilesTakeNoVirtualTime) {
    run([] {
        TimePoint begin = now();
        auto sleeper = create_task([] { weft::sleep(1h); });
        File file = open_file("/proc/self/stat");
        std::string text = timeout(1ns, [&] { return file.read(); });
        EXPECT_EQ(text.find(std::to_string(::getpid()) + " ("), 0U);
        file.close();
        EXPECT_EQ(now(), begin);
        await(sleeper);
        EXPECT_EQ(now() - begin, 1h);
    });
}

}  // namespace

}  // namespace weft::test
