// Peers that mean harm, or behave as if: slow ones, endless ones, ones that reset and ones that never read. Each must cost
// its own connection and nothing else: not the other clients, not memory without bound, not the process.
#include <atomic>
#include <fstream>

#include "net_support.hpp"
#include "sanitizers.hpp"

namespace weft::test {

namespace {

class HostileTest : public OnSockets {};
WEFT_TEST_ON_THREADS(HostileTest);

constexpr std::size_t kMegabyte = std::size_t{1} << 20;
// What both ends' kernels may hold of one connection, and much more: their defaults grow to some megabytes.
constexpr std::size_t kBuffersMost = 64 * kMegabyte;

/// Bytes of memory that the process has now.
std::size_t resident() {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages >> pages;
    return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

bool is_broken(int error) { return error == ECONNRESET || error == EPIPE; }

// --- slow ---------------------------------------------------------------------------------------------------------

// Slowloris: a request that never ends, a byte now and then, from many.
TEST_P(HostileTest, SlowRequestsAreCutOffByTheirDeadlineAndOthersAreServedMeanwhile) {
    run([] {
        constexpr int kSlow = 40;
        std::atomic<int> cut_off = 0;
        Server server = start_server(
            [&](TcpStream stream) {
                try {
                    timeout(300ms, [&] { stream.readuntil("\r\n\r\n"); });
                    stream.write("200\r\n");
                } catch (const TimeoutError&) {
                    ++cut_off;
                }
            },
            "127.0.0.1", 0);
        auto slow = [&] {
            TcpStream stream = open_connection("127.0.0.1", server.port());
            return errno_of([&] {
                for (;;) {
                    stream.write("x");
                    weft::sleep(2ms);
                }
            });
        };
        std::vector<Task<int>> attackers;
        for (int i = 0; i < kSlow; ++i) attackers.push_back(create_task(slow));
        int served = 0;
        while (cut_off < kSlow) {
            TcpStream stream = open_connection("127.0.0.1", server.port());
            std::string answer;
            int error = errno_of([&] {
                stream.write("GET\r\n\r\n");
                answer = stream.read();
            });
            // On a machine that stands still for so long, a good one may be cut off too, and its request be unread.
            EXPECT_TRUE(error == 0 || is_broken(error)) << error;
            EXPECT_TRUE(answer == "200\r\n" || answer.empty()) << answer;
            served += answer.empty() ? 0 : 1;
            if (answer.empty()) --cut_off;
            stream.abort();  // its port shall not stay behind
        }
        EXPECT_GT(served, 0);
        for (auto& attacker : attackers) {
            int error = await(attacker);
            EXPECT_TRUE(is_broken(error)) << error;
        }
        EXPECT_EQ(cut_off, kSlow);
    });
}

TEST_P(HostileTest, APeerThatSendsAByteAtATimeIsUnderstood) {
    run([] {
        std::string line(300, 'l');
        std::string body;
        for (int i = 0; i < 300; ++i) body += static_cast<char>(i * 7);
        std::vector<std::string> got;
        Server server = start_server(
            [&](TcpStream stream) {
                got.push_back(stream.readline());
                got.push_back(stream.readexactly(body.size()));
                got.push_back(stream.readuntil("\r\n--\r\n"));
                got.push_back(stream.readline());
                stream.write("k");
            },
            "127.0.0.1", 0);
        TcpStream client = open_connection("127.0.0.1", server.port());
        for (char c : line + "\n" + body + "part\r\n-\r\n--\r\n" + "last") {
            client.write(std::string(1, c));
            settle();  // so that it is read before the next one comes
        }
        client.write_eof();
        EXPECT_EQ(client.read(), "k");
        server.close();
        server.wait_closed();
        EXPECT_EQ(got,
                  (std::vector<std::string>{line + "\n", body, "part\r\n-\r\n--\r\n", "last"}));
    });
}

// --- endless ------------------------------------------------------------------------------------------------------

/// A peer, on a thread, that sends 'x' without end until it fails; how many it got rid of before.
std::size_t send_without_end(int port, std::size_t most) {
    PlainClient client(port);
    std::string piece(65536, 'x');
    std::size_t sent = 0;
    try {
        for (; sent < most; sent += piece.size()) client.write(piece);
    } catch (const std::system_error& e) {
        EXPECT_TRUE(is_broken(e.code().value())) << e.what();
    }
    return sent;
}

TEST_P(HostileTest, ALineWithoutEndIsRefusedAtTheLimitAndItsSenderStopped) {
    run([] {
        std::atomic<std::size_t> looked_through = 0;
        Event refused;
        Server server = start_server(
            [&](TcpStream stream) {
                try {
                    stream.readuntil("\n");
                } catch (const LimitOverrunError& e) {
                    looked_through = e.consumed();
                    refused.set();
                }
            },
            "127.0.0.1", 0);
        std::size_t sent =
            to_thread([port = server.port()] { return send_without_end(port, 1024 * kMegabyte); });
        refused.wait();
        EXPECT_GT(looked_through, Stream::kDefaultLimit);
        EXPECT_LT(looked_through, 4 * Stream::kDefaultLimit);
        EXPECT_LT(sent, kBuffersMost);
    });
}

// readline() drops what it has looked through, so a server may go on with it for as long as it likes.
TEST_P(HostileTest, ALineOfAQuarterGigabyteCostsReadlineNoMemory) {
    run([] {
        std::size_t before = resident();
        std::size_t grown = 0;
        int refusals = 0;
        std::string rest;
        Server server = start_server(
            [&](TcpStream stream) {
                for (;;) {
                    try {
                        rest = stream.readline();
                        break;
                    } catch (const std::length_error&) {
                        ++refusals;
                    }
                }
                grown = std::max(resident(), before) - before;
            },
            "127.0.0.1", 0);
        constexpr std::size_t kLine = 256 * kMegabyte;
        EXPECT_EQ(to_thread([port = server.port()] { return send_without_end(port, kLine); }),
                  kLine);
        server.close();
        server.wait_closed();
        EXPECT_GT(refusals, 100);
        EXPECT_LE(rest.size(), Stream::kDefaultLimit);
        // AddressSanitizer keeps what was freed for a while, up to a quarter of a gigabyte.
        if (!WEFT_ASAN) {
            EXPECT_LT(grown, kLine / 2);
        }
    });
}

TEST_P(HostileTest, ASenderWhomNobodyReadsIsStoppedByTheKernel) {
    run([] {
        Event over;
        Server server = start_server([&](TcpStream) { over.wait(); }, "127.0.0.1", 0);
        TcpStream sender = open_connection("127.0.0.1", server.port());
        std::atomic<std::size_t> sent = 0;
        auto writer = create_task([&] {
            std::string piece(65536, 'x');
            for (;;) {
                sender.write(piece);
                sent += piece.size();
            }
        });
        // It waits for good once the kernels are full: nothing changes any more.
        for (std::size_t seen = 1; seen != sent || seen == 0;) {
            seen = sent;
            weft::sleep(20ms);
        }
        EXPECT_LT(sent, kBuffersMost);
        EXPECT_FALSE(writer.done());
        over.set();
        int error = errno_of([&] { await(writer); });
        EXPECT_TRUE(is_broken(error)) << error;
    });
}

// --- gone ---------------------------------------------------------------------------------------------------------

TEST_P(HostileTest, AResetInTheMiddleOfAWriteEndsThatWriteAlone) {
    run([] {
        constexpr int kPeers = 24;
        std::string much(16 * kMegabyte, 'm');
        Queue<int> errors;
        Server server = start_server(
            [&](TcpStream stream) {
                if (stream.readline() == "much\n")
                    errors.put(errno_of([&] { stream.write(much); }));
                else
                    stream.write("served");
            },
            "127.0.0.1", 0);
        std::vector<Task<void>> peers;
        for (int i = 0; i < kPeers; ++i)
            peers.push_back(create_task([&, i] {
                to_thread([&, port = server.port()] {
                    PlainClient client(port);
                    client.write("much\n");
                    for (int reads = 0; reads <= i; ++reads) client.read(4096);
                    client.abort();
                });
            }));
        for (int i = 0; i < kPeers; ++i) {
            int error = errors.get();
            EXPECT_TRUE(is_broken(error)) << error;
        }
        gather(peers);
        TcpStream good = open_connection("127.0.0.1", server.port());
        good.write("good\n");
        EXPECT_EQ(good.read(), "served");
    });
}

// The second write finds what the first one has brought about: no signal then either.
TEST_P(HostileTest, WritesAfterTheResetFailEachTime) {
    run([] {
        Queue<int> handled;
        Server server = start_server(
            [&](TcpStream stream) {
                EXPECT_EQ(errno_of([&] { stream.read(); }), ECONNRESET);
                for (int i = 0; i < 3; ++i) EXPECT_EQ(errno_of([&] { stream.write("x"); }), EPIPE);
                handled.put(1);
            },
            "127.0.0.1", 0);
        to_thread([port = server.port()] { PlainClient(port).abort(); });
        TcpStream client = open_connection("127.0.0.1", server.port());
        client.abort();
        handled.get();
        handled.get();
    });
}

TEST_P(HostileTest, APeerThatNeverReadsHoldsUpItsOwnHandlerAloneAndACancelFreesThat) {
    run([] {
        std::atomic<std::size_t> written = 0;
        std::atomic<std::size_t> begun = 0;
        std::atomic<int> cancelled = 0;
        Server server = start_server(
            [&](TcpStream stream) {
                if (stream.readline() != "much\n") return stream.write("served");
                ++begun;
                std::string piece(65536, 'x');
                try {
                    for (;;) {
                        stream.write(piece);
                        written += piece.size();
                    }
                } catch (const CancelledError&) {
                    ++cancelled;
                    throw;
                }
            },
            "127.0.0.1", 0);
        constexpr std::size_t kDeaf = 3;
        std::vector<TcpStream> deaf;
        for (std::size_t i = 0; i < kDeaf; ++i) {
            deaf.push_back(open_connection("127.0.0.1", server.port()));
            deaf.back().write("much\n");
        }
        for (std::size_t seen = 1; seen != written || begun < kDeaf;) {
            seen = written;
            TcpStream good = open_connection("127.0.0.1", server.port());
            good.write("good\n");
            EXPECT_EQ(good.read(), "served");
            weft::sleep(20ms);
        }
        EXPECT_LT(written, kDeaf * kBuffersMost);
        yield_until([&] { return server.connections() == kDeaf; });
        server.cancel();
        server.wait_closed();
        EXPECT_EQ(cancelled, int{kDeaf});
        EXPECT_EQ(server.connections(), 0U);
    });
}

// --- a peer that never pauses -------------------------------------------------------------------------------------

// As if it never paused: the bytes are all there, and each read takes one. On one worker, so that who gets a turn gets it
// from the reader.
constexpr int kThere = 10'000;
constexpr int kFew = 1'000;

TEST(NeverPausingPeer, LeavesOthersTheirTurn) {
    weft::run(
        [] {
            Pair pair;
            pair.b.write(std::string(kThere, 'x'));
            bool had_its_turn = false;
            auto other = create_task([&] { had_its_turn = true; });
            int reads = 0;
            for (char byte; !had_its_turn && reads < kFew; ++reads) pair.a.read_some(&byte, 1);
            EXPECT_TRUE(had_its_turn) << "after " << reads << " reads";
            await(other);
        },
        {.workers = 1});
}

TEST(NeverPausingPeer, ReadingFromItIsACancelPoint) {
    weft::run(
        [] {
            Pair pair;
            pair.b.write(std::string(kThere, 'x'));
            auto canceller = create_task([self = current_task()]() mutable { self.cancel(); });
            auto read_few = [&] {
                char byte;
                for (int i = 0; i < kFew; ++i) pair.a.read_some(&byte, 1);
            };
            EXPECT_THROW(read_few(), CancelledError);
            current_task().uncancel();
            await(canceller);
            // Nothing that had come is lost by it.
            pair.b.close();
            EXPECT_GE(pair.a.read().size(), std::size_t{kThere - kFew});
        },
        {.workers = 1});
}

}  // namespace

}  // namespace weft::test
