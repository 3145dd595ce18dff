// A simulation's own TCP: what the kernel's promises, in virtual time, with delays, pieces and resets from the seed.
#include <weft/testing.hpp>

#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <thread>

#include "net_support.hpp"

namespace weft::test {

namespace {

using testing::NetworkOptions;
using testing::SimulationReport;

constexpr NetworkOptions kSteady{
    .least_delay = 1s, .most_delay = 1s, .pieces = false, .buffer = 1000};
constexpr int kSeeds = 50;

class SimulatedNetworkTest : public WithWatchdog {
protected:
    void SetUp() override { descriptors_before_ = open_descriptors(); }
    void TearDown() override {
        EXPECT_EQ(open_descriptors(), descriptors_before_) << "descriptors are left open";
        WithWatchdog::TearDown();
    }

    /// With a network whose times are whole seconds.
    template <class F>
    void steadily(F&& f) {
        testing::simulate(1, [&f] { f(); }, {.workers = 2}, nullptr, kSteady);
    }

private:
    std::size_t descriptors_before_ = 0;
};

/// A server whose only connection a test wants to have in hand.
struct OneConnection {
    Queue<TcpStream> accepted;
    Server server;
    TcpStream client;
    TcpStream peer;

    explicit OneConnection(const ServerOptions& options = {})
        : server(start_server([this](TcpStream stream) { accepted.put(std::move(stream)); },
                              "127.0.0.1", 0, options)),
          client(open_connection("127.0.0.1", server.port())),
          peer(accepted.get()) {}
};

void echo(TcpStream stream) {
    char bytes[300];
    while (std::size_t n = stream.read_some(bytes, sizeof bytes)) stream.write({bytes, n});
}

// --- what always holds --------------------------------------------------------------------------------------------

TEST_F(SimulatedNetworkTest, BytesArriveInTheirOrderWithEverySeed) {
    std::size_t short_reads = 0;
    testing::explore(kSeeds,
                     [&] {
                         Server server = start_server(echo, "", 0);
                         task_group([&](TaskGroup& group) {
                             for (std::size_t size : {1U, 100U, 5'000U, 200'000U})
                                 group.create_task([&, size] {
                                     TcpStream client = open_connection("127.0.0.1", server.port());
                                     std::string sent = pattern(size);
                                     task_group([&](TaskGroup& both) {
                                         both.create_task([&] {
                                             client.write(sent);
                                             client.write_eof();
                                         });
                                         std::string got;
                                         while (!client.at_eof()) {
                                             std::string part = client.read(4096);
                                             if (!part.empty() && part.size() < 4096) ++short_reads;
                                             got += part;
                                         }
                                         EXPECT_EQ(got, sent);
                                     });
                                 });
                         });
                     },
                     {.workers = 3});
    EXPECT_GT(short_reads, 100U * kSeeds);
}

TEST_F(SimulatedNetworkTest, NothingOfItIsADescriptor) {
    std::size_t before = open_descriptors();
    testing::simulate(1, [&] {
        std::size_t running = open_descriptors();
        OneConnection pair;
        EXPECT_EQ(open_descriptors(), running);
        EXPECT_GT(pair.client.fd(), 1'000'000);
    });
    EXPECT_EQ(open_descriptors(), before);
}

TEST_F(SimulatedNetworkTest, OneThatCannotBeIsRefusedByName) {
    auto refused = [](const testing::NetworkOptions& network) {
        auto nothing = [] {};
        std::string what = what_of<std::invalid_argument>(
            [&] { testing::simulate(1, nothing, {}, nullptr, network); });
        EXPECT_EQ(
            what_of<std::invalid_argument>([&] { testing::explore(1, nothing, {}, network); }),
            what);
        return what;
    };
    EXPECT_NE(refused({.buffer = 0}).find("buffer"), std::string::npos);
    EXPECT_NE(refused({.least_delay = -1ns}).find("least_delay"), std::string::npos);
    EXPECT_NE(refused({.least_delay = 2ms, .most_delay = 1ms}).find("most_delay"),
              std::string::npos);
    for (double p : {-0.1, 1.1, std::nan("")})
        EXPECT_NE(refused({.reset_probability = p}).find("reset_probability"), std::string::npos);
}

TEST_F(SimulatedNetworkTest, ASeedRepeatsARun) {
    auto run_of = [](std::uint64_t seed) {
        SimulationReport report;
        auto main = [] {
            Server server = start_server(echo, "127.0.0.1", 0);
            task_group([&](TaskGroup& group) {
                for (int i = 0; i < 5; ++i)
                    group.create_task([&] {
                        TcpStream client = open_connection("127.0.0.1", server.port());
                        client.write(pattern(3000));
                        client.readexactly(3000);
                    });
            });
        };
        testing::simulate(seed, main, {.workers = 4}, &report);
        return std::pair(report.schedule_hash, report.elapsed);
    };
    std::set<Duration> times;
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        EXPECT_EQ(run_of(seed), run_of(seed));
        times.insert(run_of(seed).second);
    }
    EXPECT_EQ(times.size(), 10U) << "the seed does not decide the delays";
}

TEST_F(SimulatedNetworkTest, TheKernelsTcpWhereItIsAskedFor) {
    testing::simulate(1,
                      [] {
                          Server server = start_server(echo, "127.0.0.1", 0);
                          EXPECT_LT(open_connection("127.0.0.1", server.port()).fd(), 1'000'000);
                          std::thread([&] {
                              PlainClient client(server.port());
                              client.write("from outside");
                          }).join();
                      },
                      {}, nullptr, {.in_memory = false});
}

// --- time ---------------------------------------------------------------------------------------------------------

TEST_F(SimulatedNetworkTest, ThingsTakeTheirDelay) {
    steadily([] {
        Server server = start_server(echo, "127.0.0.1", 0);
        TimePoint begin = now();
        TcpStream client = open_connection("127.0.0.1", server.port());
        EXPECT_EQ(now() - begin, 2s) << "there and back";
        client.write("12345");
        EXPECT_EQ(now() - begin, 2s) << "there was room";
        EXPECT_EQ(client.readexactly(5), "12345");
        EXPECT_EQ(now() - begin, 4s);
        EXPECT_THROW(timeout(1s, [&] { client.read(1); }), TimeoutError);
        EXPECT_EQ(now() - begin, 5s);
    });
}

TEST_F(SimulatedNetworkTest, WhatCameBeforeTheFirstWaitEndsIt) {
    steadily([] {
        OneConnection pair;
        for (const char* bytes : {"ab", "cd"}) {
            pair.client.write(bytes);
            weft::sleep(2s);
            // A read that gives less than was asked for says that there is no more: the next one begins with a wait.
            EXPECT_EQ(timeout(1s, [&] { return pair.peer.read(100); }), bytes);
        }
    });
}

TEST_F(SimulatedNetworkTest, AWriteWaitsForRoom) {
    steadily([] {
        OneConnection pair;
        TimePoint begin = now();
        pair.client.write(pattern(1000));
        EXPECT_EQ(now(), begin);
        EXPECT_THROW(timeout(1h, [&] { pair.client.write("x"); }), TimeoutError);
        auto reader = create_task([&] { return pair.peer.readexactly(1001); });
        begin = now();
        pair.client.write("y");
        EXPECT_EQ(now() - begin, 1s) << "the news of the room came at once";
        EXPECT_EQ(await(reader), pattern(1000) + "y");
    });
}

TEST_F(SimulatedNetworkTest, ACallerWaitsWhereTheBacklogIsFull) {
    steadily([] {
        Event go_on;
        Server server = start_server([&](TcpStream) { go_on.wait(); }, "127.0.0.1", 0,
                                     {.backlog = 0, .max_connections = 1});
        // One is served, one is in the backlog.
        TcpStream served = open_connection("127.0.0.1", server.port());
        TcpStream waits = open_connection("127.0.0.1", server.port());
        EXPECT_THROW(timeout(10s, [&] { open_connection("127.0.0.1", server.port()); }),
                     TimeoutError);
        EXPECT_EQ(errno_of([&] { open_connection("127.0.0.1", server.port()); }), ETIMEDOUT);
        go_on.set();
        open_connection("127.0.0.1", server.port());
    });
}

// --- the end of a connection --------------------------------------------------------------------------------------

TEST_F(SimulatedNetworkTest, NobodyListens) {
    steadily([] {
        TimePoint begin = now();
        EXPECT_EQ(errno_of([] { open_connection("127.0.0.1", 4); }), ECONNREFUSED);
        EXPECT_EQ(now() - begin, 2s);
        int port = start_server(echo, "127.0.0.1", 0).port();
        EXPECT_EQ(errno_of([&] { open_connection("127.0.0.1", port); }), ECONNREFUSED)
            << "it has been closed";
        Server elsewhere = start_server(echo, "127.0.0.2", 0);
        EXPECT_EQ(errno_of([&] { open_connection("127.0.0.1", elsewhere.port()); }), ECONNREFUSED);
        open_connection("127.0.0.2", elsewhere.port());
    });
}

TEST_F(SimulatedNetworkTest, HalfAConnectionMayEnd) {
    steadily([] {
        OneConnection pair;
        pair.client.write("all");
        pair.client.write_eof();
        EXPECT_EQ(pair.peer.read(), "all");
        EXPECT_TRUE(pair.peer.at_eof());
        pair.peer.write("and an answer");
        pair.peer.close();
        EXPECT_EQ(pair.client.read(), "and an answer");
        EXPECT_EQ(errno_of([&] { pair.client.write("more"); }), EPIPE);
    });
}

TEST_F(SimulatedNetworkTest, ClosingWithUnreadBytesResets) {
    steadily([] {
        OneConnection pair;
        pair.client.write("nobody reads this");
        weft::sleep(2s);
        pair.peer.write("read this");
        pair.peer.close();
        EXPECT_EQ(pair.client.read(100), "read this") << "it had arrived before";
        EXPECT_EQ(errno_of([&] { pair.client.read(100); }), ECONNRESET);
        EXPECT_EQ(errno_of([&] { pair.client.write("x"); }), EPIPE);
    });
}

TEST_F(SimulatedNetworkTest, AbortResets) {
    steadily([] {
        OneConnection pair;
        pair.peer.abort();
        EXPECT_EQ(errno_of([&] { pair.client.read(1); }), ECONNRESET);
    });
}

TEST_F(SimulatedNetworkTest, WhoWritesToOneThatHasGoneHearsOfItLater) {
    steadily([] {
        OneConnection pair;
        pair.peer.close();
        pair.client.write("on its way before anybody knows");
        weft::sleep(3s);
        EXPECT_EQ(errno_of([&] { pair.client.write("x"); }), ECONNRESET);
        EXPECT_EQ(errno_of([&] { pair.client.write("x"); }), EPIPE);
    });
}

TEST_F(SimulatedNetworkTest, AClosedServerResetsWhoWaitsInItsBacklog) {
    steadily([] {
        Event never;
        Server server =
            start_server([&](TcpStream) { never.wait(); }, "127.0.0.1", 0, {.max_connections = 1});
        TcpStream served = open_connection("127.0.0.1", server.port());
        TcpStream waits = open_connection("127.0.0.1", server.port());
        server.close();
        EXPECT_EQ(errno_of([&] { waits.read(1); }), ECONNRESET);
    });
}

TEST_F(SimulatedNetworkTest, ACallThatIsGivenUpReachesNobody) {
    steadily([] {
        bool ended = false;
        Server server = start_server(
            [&](TcpStream stream) { ended = errno_of([&] { stream.read(); }) == ECONNRESET; },
            "127.0.0.1", 0);
        EXPECT_THROW(timeout(1500ms, [&] { open_connection("127.0.0.1", server.port()); }),
                     TimeoutError);
        weft::sleep(10s);
        EXPECT_TRUE(ended);
    });
}

TEST_F(SimulatedNetworkTest, ResetsComeByChanceToBothEnds) {
    std::map<int, int> at_client;
    std::map<int, int> at_server;
    testing::explore(kSeeds,
                     [&] {
                         int server_error = 0;
                         auto handler = [&](TcpStream stream) {
                             server_error = errno_of([&] { echo(std::move(stream)); });
                         };
                         {
                             Server server = start_server(handler, "127.0.0.1", 0);
                             TcpStream client = open_connection("127.0.0.1", server.port());
                             ++at_client[errno_of([&] {
                                 for (int i = 0; i < 100; ++i) {
                                     client.write(pattern(200));
                                     EXPECT_EQ(client.readexactly(200), pattern(200));
                                 }
                             })];
                             client.close();
                             server.close();
                             server.wait_closed();
                         }
                         ++at_server[server_error];
                     },
                     {.workers = 2}, {.reset_probability = 0.005});
    EXPECT_GT(at_client[0], 0);
    EXPECT_GT(at_client[ECONNRESET], 0);
    EXPECT_GT(at_server[ECONNRESET], 0);
    EXPECT_EQ(at_client[0] + at_client[ECONNRESET] + at_client[EPIPE], kSeeds);
}

// --- names and options --------------------------------------------------------------------------------------------

TEST_F(SimulatedNetworkTest, AddressesAreThoseOfAHost) {
    steadily([] {
        OneConnection pair;
        EXPECT_EQ(pair.client.peer_address(), pair.peer.local_address());
        EXPECT_EQ(pair.client.local_address(), pair.peer.peer_address());
        EXPECT_EQ(pair.client.peer_address().port(), pair.server.port());
        Server six = start_server(echo, "::1", 0);
        TcpStream client = open_connection("::1", six.port());
        EXPECT_TRUE(client.local_address().is_ipv6());
        EXPECT_EQ(errno_of([&] { start_server(echo, "127.0.0.1", pair.server.port()); }),
                  EADDRINUSE);
        EXPECT_EQ(errno_of([&] { start_server(echo, "0.0.0.0", pair.server.port()); }), EADDRINUSE);
    });
}

TEST_F(SimulatedNetworkTest, OptionsAreKept) {
    steadily([] {
        OneConnection pair({.tcp = {.keepalive = true}});
        EXPECT_EQ(pair.peer.get_option(SOL_SOCKET, SO_KEEPALIVE), 1);
        EXPECT_EQ(pair.client.get_option(SOL_SOCKET, SO_KEEPALIVE), 0);
        pair.client.set_option(SOL_SOCKET, SO_RCVBUF, 4096);
        EXPECT_EQ(pair.client.get_option(SOL_SOCKET, SO_RCVBUF), 4096);
        EXPECT_EQ(pair.client.get_option(SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    });
}

TEST_F(SimulatedNetworkTest, ShardsShareThePort) {
    testing::explore(10, [&] {
        Event go_on;
        Server server =
            start_server([&](TcpStream) { go_on.wait(); }, "127.0.0.1", 0, {.shards = 3});
        std::vector<TcpStream> clients;
        for (int i = 0; i < 20; ++i) clients.push_back(open_connection("127.0.0.1", server.port()));
        while (server.connections() < 20) weft::sleep(1ms);
        go_on.set();
    });
}

TEST_F(SimulatedNetworkTest, PartsAndFilesGoOverIt) {
    std::FILE* file = std::tmpfile();
    std::string text = pattern(100'000);
    std::fwrite(text.data(), 1, text.size(), file);
    std::fflush(file);
    testing::explore(10, [&] {
        OneConnection pair;
        auto sender = create_task([&] {
            EXPECT_EQ(pair.client.sendfile(::fileno(file), 10, text.size()), text.size() - 10);
            std::string head = "head";
            std::string tail = "tail";
            std::array parts{std::as_writable_bytes(std::span(head)),
                             std::as_writable_bytes(std::span(tail))};
            while (pair.client.write_some(parts) < 4) {
            }
            pair.client.close();
        });
        EXPECT_EQ(pair.peer.readexactly(text.size() - 10), text.substr(10));
        std::string a(2, ' ');
        std::string b(2, ' ');
        std::array parts{std::as_writable_bytes(std::span(a)),
                         std::as_writable_bytes(std::span(b))};
        EXPECT_GT(pair.peer.read_some(parts), 0U);
        EXPECT_EQ(a[0], 'h');
        await(sender);
    });
    std::fclose(file);
}

// --- threads and the end ------------------------------------------------------------------------------------------

TEST_F(SimulatedNetworkTest, AnotherThreadMayCloseAStream) {
    testing::simulate(1, [] {
        OneConnection pair;
        to_thread([&] { pair.peer.close(); });
        EXPECT_EQ(pair.client.read(), "");
    });
}

TEST_F(SimulatedNetworkTest, AStreamMayOutliveItsSimulation) {
    TcpStream kept;
    testing::simulate(1, [&] {
        OneConnection pair;
        pair.peer.write("never read");
        kept = std::move(pair.client);
    });
    EXPECT_THROW(kept.read(1), UsageError);
    kept.close();
}

TEST_F(SimulatedNetworkTest, TasksThatWaitForEachOtherOverItAreADeadlock) {
    auto main = [] {
        OneConnection pair;
        auto other = create_task([&] { pair.peer.read(1); });
        pair.client.read(1);
    };
    EXPECT_DEATH(testing::simulate(7, main), "deadlock.*seed 7(.|\n)*Stream.read");
}

}  // namespace

}  // namespace weft::test
