// Servers and the connections to them: who is served, how they end, what happens when something runs short.

#include <cstdio>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

#include "net_support.hpp"

namespace weft::test {

namespace {

class ServerTest : public OnSockets {};
WEFT_TEST_ON_THREADS(ServerTest);

void echo(TcpStream stream) {
    for (std::string data; !(data = stream.read(4096)).empty();) stream.write(data);
}

// --- serving ------------------------------------------------------------------------------------------------------

TEST_P(ServerTest, EachConnectionIsServedInATaskOfItsOwn) {
    run([] {
        Server server = start_server(echo, "127.0.0.1", 0);
        EXPECT_TRUE(server.is_serving());
        EXPECT_GT(server.port(), 0);
        constexpr int kClients = 50;
        std::vector<TcpStream> clients;
        for (int i = 0; i < kClients; ++i)
            clients.push_back(open_connection("127.0.0.1", server.port()));
        for (int i = kClients; i > 0; --i) {
            TcpStream& client = clients[static_cast<std::size_t>(i - 1)];
            client.write("hello " + std::to_string(i));
            EXPECT_EQ(client.readexactly(6 + std::to_string(i).size()),
                      "hello " + std::to_string(i));
        }
        EXPECT_EQ(server.connections(), static_cast<std::size_t>(kClients));
        clients.clear();
        server.close();
        EXPECT_FALSE(server.is_serving());
        server.wait_closed();
        EXPECT_EQ(server.connections(), 0U);
    });
}

TEST_P(ServerTest, AClientOfPlainSystemCallsIsServed) {
    run([] {
        Server server = start_server(echo, "127.0.0.1", 0);
        auto answer = to_thread([port = server.port()] {
            PlainClient client(port);
            client.write("plain");
            ::shutdown(client.fd(), SHUT_WR);
            return client.read_all();
        });
        EXPECT_EQ(answer, "plain");
    });
}

TEST_P(ServerTest, TheHandlerMayBeACoroutineFunction) {
    run([] {
        auto handler = async("greet", [](TcpStream stream) { stream.write("from a coroutine"); });
        Server server = start_server(handler, "127.0.0.1", 0);
        EXPECT_EQ(open_connection("127.0.0.1", server.port()).read(), "from a coroutine");
    });
}

TEST_P(ServerTest, AddressesOfBothEnds) {
    run([] {
        SocketAddress seen;
        Event served;
        Server server = start_server(
            [&](TcpStream stream) {
                seen = stream.peer_address();
                EXPECT_EQ(stream.local_address().port(), server.port());
                served.set();
            },
            "127.0.0.1", 0);
        TcpStream client = open_connection(server.addresses().front());
        served.wait();
        EXPECT_EQ(client.local_address(), seen);
        EXPECT_EQ(client.peer_address(), server.addresses().front());
        EXPECT_EQ(client.peer_address().to_string(), "127.0.0.1:" + std::to_string(server.port()));
        EXPECT_EQ(client.get_option(IPPROTO_TCP, 1 /* TCP_NODELAY */), 1);
    });
}

TEST_P(ServerTest, OnAllInterfacesAndBothFamiliesOnePort) {
    run([] {
        Server server = start_server(echo, "", 0);
        for (const SocketAddress& address : server.addresses())
            EXPECT_EQ(address.port(), server.port());
        TcpStream four = open_connection("127.0.0.1", server.port());
        four.write("4");
        EXPECT_EQ(four.read(10), "4");
        if (server.addresses().size() < 2) return;  // this machine has no IPv6
        TcpStream six = open_connection("::1", server.port());
        six.write("6");
        EXPECT_EQ(six.read(10), "6");
    });
}

TEST_P(ServerTest, OpenConnectionLooksNamesUpAndTriesEachAddress) {
    run([] {
        // localhost is ::1 and 127.0.0.1 on most machines, and only one of them is listened on.
        Server server = start_server(echo, "127.0.0.1", 0);
        TcpStream client = open_connection("localhost", server.port());
        client.write("found");
        EXPECT_EQ(client.read(10), "found");
        EXPECT_THROW(open_connection("no-such-host.invalid", 1), ResolveError);
        EXPECT_THROW(open_connection("127.0.0.1", 65536), std::invalid_argument);
        EXPECT_THROW(open_connection("127.0.0.1", -1), std::invalid_argument);
    });
}

TEST_P(ServerTest, ARefusedConnectionSaysWhichAndWhy) {
    run([] {
        Server server = start_server(echo, "127.0.0.1", 0);
        int port = server.port();
        server.close();
        server.wait_closed();
        try {
            open_connection("127.0.0.1", port);
            FAIL();
        } catch (const std::system_error& e) {
            EXPECT_EQ(e.code(), std::errc::connection_refused);
            EXPECT_NE(std::string(e.what()).find(":" + std::to_string(port)), std::string::npos)
                << e.what();
        }
    });
}

TEST_P(ServerTest, UnixServersComeAndGoWithTheirPath) {
    std::string path = ::testing::TempDir() + "weft-" + std::to_string(::getpid()) + ".sock";
    run([&] {
        for (int round = 0; round < 2; ++round) {
            Server server =
                start_unix_server([](UnixStream stream) { stream.write("unix"); }, path);
            EXPECT_EQ(open_unix_connection(path).read(), "unix");
            EXPECT_EQ(server.port(), 0);
            EXPECT_EQ(server.addresses().front().path(), path);
            // Somebody serves there.
            EXPECT_EQ(errno_of([&] { start_unix_server([](UnixStream) {}, path); }), EADDRINUSE);
        }
        EXPECT_FALSE(std::filesystem::exists(path));
        // What a server left that was killed.
        int stale = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        SocketAddress address = SocketAddress::unix_path(path);
        ASSERT_EQ(::bind(stale, static_cast<const sockaddr*>(address.data()),
                         static_cast<socklen_t>(address.size())),
                  0);
        ::close(stale);
        Server server = start_unix_server([](UnixStream stream) { stream.write("anew"); }, path);
        EXPECT_EQ(open_unix_connection(path).read(), "anew");
    });
    EXPECT_FALSE(std::filesystem::exists(path));
}

/// As the kernel counts them, for IPv4.
int sockets_that_listen_on(int port) {
    char wanted[8];
    std::snprintf(wanted, sizeof wanted, ":%04X", static_cast<unsigned>(port));
    std::ifstream table("/proc/net/tcp");
    int n = 0;
    std::string line;
    while (std::getline(table, line)) {
        std::istringstream words(line);
        std::string number, local, remote, state;
        words >> number >> local >> remote >> state;
        if (state == "0A" && local.size() > 5 && local.substr(local.size() - 5) == wanted) ++n;
    }
    return n;
}

TEST_P(ServerTest, ShardsShareOnePort) {
    run([] {
        Server server = start_server(echo, "127.0.0.1", 0, {.shards = 4});
        EXPECT_EQ(sockets_that_listen_on(server.port()), 4);
        EXPECT_EQ(server.addresses().size(), 1U);
        std::vector<TcpStream> clients;
        for (int i = 0; i < 40; ++i) {
            clients.push_back(open_connection("127.0.0.1", server.port()));
            clients.back().write("x");
            EXPECT_EQ(clients.back().read(1), "x");
        }
        EXPECT_THROW(start_server(echo, "127.0.0.1", 0, {.shards = 0}), std::invalid_argument);
    });
}

TEST_P(ServerTest, APortThatIsTakenIsAClearError) {
    run([] {
        Server server = start_server(echo, "127.0.0.1", 0);
        try {
            start_server(echo, "127.0.0.1", server.port());
            FAIL();
        } catch (const std::system_error& e) {
            EXPECT_EQ(e.code(), std::errc::address_in_use);
            EXPECT_NE(std::string(e.what()).find("127.0.0.1:"), std::string::npos) << e.what();
        }
    });
}

// One for each way to a stream.
TEST_P(ServerTest, LinesBeyondTheLimitAreRefusedAtBothEnds) {
    std::string path = ::testing::TempDir() + "weft-limit-" + std::to_string(::getpid());
    run([&] {
        auto expect_limit_of_8 = [](Stream& stream) {
            EXPECT_EQ(stream.readuntil(), "12345678\n");
            EXPECT_THROW(stream.readuntil(), LimitOverrunError);
            EXPECT_THROW(stream.readline(), std::length_error);
        };
        auto send_lines = [](Stream& stream) {
            stream.write("12345678\n123456789\n");
            stream.write_eof();
        };
        std::atomic<int> served = 0;
        auto handler = [&](auto stream) {
            send_lines(stream);
            expect_limit_of_8(stream);
            ++served;
        };
        auto client = [&](auto stream) {
            expect_limit_of_8(stream);
            send_lines(stream);
        };
        Server tcp = start_server(handler, "127.0.0.1", 0, {.limit = 8});
        client(open_connection("127.0.0.1", tcp.port(), {.limit = 8}));
        client(open_connection(tcp.addresses().front(), {.limit = 8}));
        Server local = start_unix_server(handler, path, {.limit = 8});
        client(open_unix_connection(path, 8));
        for (Server* server : {&tcp, &local}) {
            server->close();
            server->wait_closed();
        }
        EXPECT_EQ(served, 3);
    });
}

// --- ends ---------------------------------------------------------------------------------------------------------

TEST_P(ServerTest, CloseLetsConnectionsFinish) {
    run([] {
        Event served;
        Server server = start_server(
            [&](TcpStream stream) {
                stream.write("begun");
                served.set();
                EXPECT_EQ(stream.read(100), "more");
                stream.write("ended");
            },
            "127.0.0.1", 0);
        TcpStream client = open_connection("127.0.0.1", server.port());
        served.wait();
        server.close();
        auto closed = start([&] { server.wait_closed(); });
        EXPECT_EQ(client.readexactly(5), "begun");
        EXPECT_FALSE(closed.done());
        client.write("more");
        EXPECT_EQ(client.read(), "ended");
        await(closed);
    });
}

TEST_P(ServerTest, ItsDestructorCancelsHandlersAndWaitsForThem) {
    run([] {
        std::atomic<bool> cleaned = false;
        Event served;
        TcpStream client;
        {
            Server server = start_server(
                [&](TcpStream stream) {
                    served.set();
                    try {
                        stream.read(1);
                    } catch (const CancelledError&) {
                        yield();
                        cleaned = true;
                        throw;
                    }
                },
                "127.0.0.1", 0);
            client = open_connection("127.0.0.1", server.port());
            served.wait();
        }
        EXPECT_TRUE(cleaned);
        EXPECT_EQ(client.read(), "");
    });
}

TEST_P(ServerTest, ServeForeverEndsByACancelWhichClosesIt) {
    run([] {
        Server server = start_server(echo, "127.0.0.1", 0);
        auto serving = start([&] { server.serve_forever(); });
        EXPECT_FALSE(serving.done());
        TcpStream client = open_connection("127.0.0.1", server.port());
        client.write("x");
        EXPECT_EQ(client.read(1), "x");
        client.close();
        serving.cancel();
        EXPECT_THROW(await(serving), CancelledError);
        EXPECT_FALSE(server.is_serving());
        server.wait_closed();
        EXPECT_THROW(Server().port(), UsageError);
    });
}

TEST_P(ServerTest, WhatAHandlerThrowsIsReportedAndClosesThatConnectionAlone) {
    Reports reports;
    int runs = 0;
    run({.exception_handler = reports.handler()}, [&] {
        ++runs;
        Server server = start_server(
            [](TcpStream stream) {
                if (stream.readline() == "bad\n") throw std::runtime_error("the handler failed");
                stream.write("good");
            },
            "127.0.0.1", 0);
        TcpStream bad = open_connection("127.0.0.1", server.port());
        TcpStream good = open_connection("127.0.0.1", server.port());
        bad.write("bad\n");
        EXPECT_EQ(bad.read(), "");
        good.write("fine\n");
        EXPECT_EQ(good.read(), "good");
    });
    auto told = reports.take();
    ASSERT_EQ(told.size(), static_cast<std::size_t>(runs));
    EXPECT_NE(told[0].find("the handler failed"), std::string::npos) << told[0];
    EXPECT_NE(told[0].find("127.0.0.1:"), std::string::npos) << told[0];
}

TEST_P(ServerTest, AResetIsAnErrorAndAnEndIsNot) {
    run([] {
        Queue<std::string> ends;
        Server server = start_server(
            [&](TcpStream stream) {
                stream.write("x");
                std::string end = "end";
                if (int error = errno_of([&] { end = stream.read(); }); error != 0)
                    end = error == ECONNRESET ? "reset" : "another error";
                ends.put(end.empty() ? "empty" : end);
            },
            "127.0.0.1", 0);
        to_thread([port = server.port()] {
            PlainClient client(port);
            client.read(1);
            client.abort();
        });
        EXPECT_EQ(ends.get(), "reset");
        to_thread([port = server.port()] {
            PlainClient client(port);
            client.read(1);
        });
        EXPECT_EQ(ends.get(), "empty");
        TcpStream client = open_connection("127.0.0.1", server.port());
        client.readexactly(1);
        client.abort();
        EXPECT_EQ(ends.get(), "reset");
    });
}

TEST_P(ServerTest, NoMoreConnectionsAtOnceThanAllowed) {
    run([] {
        std::atomic<int> at_once = 0;
        std::atomic<int> most = 0;
        Server server = start_server(
            [&](TcpStream stream) {
                int now = ++at_once;
                for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
                }
                stream.write(stream.read(1));
                --at_once;
            },
            "127.0.0.1", 0, {.max_connections = 3});
        auto client = [&] {
            TcpStream stream = open_connection("127.0.0.1", server.port());
            stream.write("x");
            EXPECT_EQ(stream.read(), "x");
        };
        std::vector<Task<void>> clients;
        for (int i = 0; i < 20; ++i) clients.push_back(create_task(client));
        gather(clients);
        EXPECT_LE(most, 3);
    });
}

// --- shortage -----------------------------------------------------------------------------------------------------

TEST_P(ServerTest, WithoutDescriptorsItPausesAndServesOnWhenThereAreSome) {
    // Looked at when there are descriptors again: UBSan's check of a virtual call needs one.
    std::mutex mutex;
    std::vector<ExceptionContext> told;
    std::atomic<bool> paused = false;
    auto handler = [&](const ExceptionContext& context) {
        std::lock_guard guard(mutex);
        told.push_back(context);
        paused = true;
    };
    run({.exception_handler = handler}, [&] {
        paused = false;
        Server server = start_server(echo, "127.0.0.1", 0);
        TcpStream client = open_connection("127.0.0.1", server.port());
        client.write("1");
        EXPECT_EQ(client.read(1), "1");
        int second = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        std::memcpy(&address, server.addresses().front().data(), sizeof address);
        {
            NoMoreDescriptors none;
            EXPECT_EQ(::connect(second, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
            while (!paused) weft::sleep(1ms);
            // It sleeps between its looks.
            std::clock_t before = std::clock();
            weft::sleep(200ms);
            EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 10);
            // Who is connected is served meanwhile.
            client.write("2");
            EXPECT_EQ(client.read(1), "2");
        }
        TcpStream late = TcpStream::from_fd(second);
        late.write("3");
        EXPECT_EQ(late.read(1), "3");
    });
    ASSERT_EQ(told.size(), 1U);
    EXPECT_NE(told[0].message.find("pauses"), std::string::npos) << told[0].message;
    EXPECT_EQ(errno_of([&] { std::rethrow_exception(told[0].exception); }), EMFILE);
}

#ifdef WEFT_TEST_CAN_LIMIT_MEMORY
/// What has come back by now: a byte, 0 the end, -1 nothing yet.
int answer_of(int fd) {
    char byte = 0;
    ssize_t n = ::recv(fd, &byte, 1, MSG_DONTWAIT);
    if (n < 0 && errno == ECONNRESET) return 0;
    return n == 1 ? byte : static_cast<int>(n);
}

TEST_P(ServerTest, WithoutMemoryForAStackItEndsThatConnectionAlone) {
    constexpr int kMore = 100;  // stacks are made 64 at a time
    Reports reports;
    run({.stack_size = new_stack_size(), .exception_handler = reports.handler()}, [&] {
        Server server = start_server(echo, "127.0.0.1", 0, {.max_connections = kMore + 1});
        TcpStream first = open_connection("127.0.0.1", server.port());
        first.write("1");
        EXPECT_EQ(first.read(1), "1");
        std::vector<int> sockets;
        for (int i = 0; i < kMore; ++i)
            sockets.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        int served = 0;
        int ended = 0;
        {
            NoMoreStacks none;
            for (int fd : sockets) {
                const SocketAddress& address = server.addresses().front();
                EXPECT_EQ(detail::calls::connect(fd, address.data(), address.size()), 0);
                EXPECT_EQ(::send(fd, "x", 1, MSG_NOSIGNAL), 1);
            }
            for (int fd : sockets) {
                int answer = -1;
                while ((answer = answer_of(fd)) < 0) weft::sleep(1ms);
                answer == 'x' ? ++served : ++ended;
            }
            first.write("2");
            EXPECT_EQ(first.read(1), "2");
        }
        EXPECT_GT(served, 0);
        EXPECT_GT(ended, 0);
        for (int fd : sockets) ::close(fd);
        while (server.connections() != 1) weft::sleep(1ms);
        while (reports.size() < static_cast<std::size_t>(ended)) weft::sleep(1ms);
        TcpStream late = open_connection("127.0.0.1", server.port());
        late.write("3");
        EXPECT_EQ(late.read(1), "3");
        std::vector<std::string> told = reports.take();
        EXPECT_EQ(told.size(), static_cast<std::size_t>(ended));
        for (const std::string& report : told)
            EXPECT_NE(report.find("never retrieved | std::bad_alloc"), std::string::npos) << report;
    });
}
#endif

TEST_P(ServerTest, ManyConnectionsComeAndGo) {
    run([] {
        Server server = start_server(
            [](TcpStream stream) {
                int error = errno_of([&] { echo(std::move(stream)); });
                EXPECT_TRUE(error == 0 || error == ECONNRESET) << error;
            },
            "127.0.0.1", 0);
        constexpr int kTasks = 8;
        constexpr int kEach = 100;
        auto client = [&] {
            for (int i = 0; i < kEach; ++i) {
                TcpStream stream = open_connection("127.0.0.1", server.port());
                std::string text = std::to_string(i);
                stream.write(text);
                ASSERT_EQ(stream.readexactly(text.size()), text);
                // So that the ports do not run out: no TIME_WAIT is left behind.
                stream.abort();
            }
        };
        std::vector<Task<void>> clients;
        for (int i = 0; i < kTasks; ++i) clients.push_back(create_task(client));
        gather(clients);
    });
}

}  // namespace

}  // namespace weft::test
