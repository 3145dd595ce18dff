// UDP.
#include <set>
#include <string>

#include "net_support.hpp"

namespace weft::test {

namespace {

class DatagramTest : public OnSockets {};
WEFT_TEST_ON_THREADS(DatagramTest);

const SocketAddress kAnyPort = SocketAddress::ip("127.0.0.1", 0);

TEST_P(DatagramTest, EachArrivesWholeWithItsSender) {
    run([] {
        UdpSocket a = create_datagram_endpoint({.local_address = kAnyPort});
        UdpSocket b = create_datagram_endpoint({.remote_address = a.local_address()});
        b.send("one");
        b.send("");
        b.sendto(std::string(60'000, 'x'), a.local_address());
        Datagram first = a.recvfrom();
        EXPECT_EQ(first.data, "one");
        EXPECT_EQ(first.from, b.local_address());
        EXPECT_EQ(a.recv(), "");
        EXPECT_EQ(a.recv(), std::string(60'000, 'x'));
        EXPECT_EQ(b.peer_address(), a.local_address());
        EXPECT_TRUE(a.peer_address().is_none());
        a.sendto("back", first.from);
        EXPECT_EQ(b.recv(), "back");
    });
}

TEST_P(DatagramTest, AReceiveWaitsAndACancelLosesNone) {
    run([] {
        UdpSocket a = create_datagram_endpoint({.local_address = kAnyPort});
        UdpSocket b = create_datagram_endpoint({.remote_address = a.local_address()});
        auto receiver = start([&] { return a.recv(); });
        EXPECT_FALSE(receiver.done());
        receiver.cancel();
        EXPECT_THROW(await(receiver), CancelledError);
        EXPECT_THROW(timeout(1ms, [&] { a.recv(); }), TimeoutError);
        b.send("late");
        EXPECT_EQ(a.recv(), "late");
    });
}

TEST_P(DatagramTest, ManyTasksReceiveInTurns) {
    run([] {
        constexpr int kMessages = 200;
        UdpSocket a =
            create_datagram_endpoint({.local_address = kAnyPort, .receive_buffer = 1 << 20});
        UdpSocket b = create_datagram_endpoint({.remote_address = a.local_address()});
        std::vector<Task<std::string>> receivers;
        for (int i = 0; i < kMessages; ++i)
            receivers.push_back(create_task([&] { return a.recv(); }));
        for (int i = 0; i < kMessages; ++i) b.send(std::to_string(i));
        std::set<std::string> got;
        for (auto& receiver : receivers) got.insert(await(receiver));
        EXPECT_EQ(got.size(), static_cast<std::size_t>(kMessages));
    });
}

TEST_P(DatagramTest, ClosedOrRefusedOrTooLargeIsAClearError) {
    run([] {
        UdpSocket a = create_datagram_endpoint({.local_address = kAnyPort});
        SocketAddress gone = a.local_address();
        auto receiver = start([&] { return errno_of([&] { a.recv(); }); });
        a.close();
        EXPECT_EQ(await(receiver), EBADF);
        EXPECT_EQ(errno_of([&] { a.sendto("x", gone); }), EBADF);
        UdpSocket b = create_datagram_endpoint({.remote_address = gone});
        b.send("x");
        EXPECT_EQ(errno_of([&] { b.recv(); }), ECONNREFUSED);
        EXPECT_EQ(errno_of([&] { b.send(std::string(70'000, 'x')); }), EMSGSIZE);
        UdpSocket none;
        EXPECT_EQ(errno_of([&] { none.recv(); }), EBADF);
        EXPECT_THROW(create_datagram_endpoint({}), std::invalid_argument);
        EXPECT_THROW(
            create_datagram_endpoint({.local_address = SocketAddress::unix_path("/tmp/x")}),
            std::invalid_argument);
        UdpSocket c = create_datagram_endpoint({.local_address = kAnyPort});
        EXPECT_EQ(errno_of([&] { create_datagram_endpoint({.local_address = c.local_address()}); }),
                  EADDRINUSE);
    });
}

int option_of(const UdpSocket& socket, int name) {
    int value = -1;
    socklen_t n = sizeof value;
    EXPECT_EQ(::getsockopt(socket.fd(), SOL_SOCKET, name, &value, &n), 0);
    return value;
}

TEST_P(DatagramTest, BuffersAreAsLargeAsAskedFor) {
    run([] {
        UdpSocket socket = create_datagram_endpoint(
            {.local_address = kAnyPort, .send_buffer = 16'384, .receive_buffer = 8'192});
        // Linux doubles them for its own needs.
        EXPECT_EQ(option_of(socket, SO_SNDBUF), 2 * 16'384);
        EXPECT_EQ(option_of(socket, SO_RCVBUF), 2 * 8'192);
        UdpSocket other = create_datagram_endpoint({.local_address = kAnyPort});
        EXPECT_GT(option_of(other, SO_SNDBUF), 2 * 16'384);
        EXPECT_GT(option_of(other, SO_RCVBUF), 2 * 8'192);
    });
}

TEST_P(DatagramTest, ABroadcastIsForThoseWhoSaidSo) {
    run([] {
        UdpSocket all =
            create_datagram_endpoint({.local_address = SocketAddress::ip("0.0.0.0", 0)});
        SocketAddress everybody = SocketAddress::ip("127.255.255.255", all.local_address().port());
        UdpSocket shy = create_datagram_endpoint({.local_address = kAnyPort});
        int error = errno_of([&] { shy.sendto("x", everybody); });
        if (error == 0 || error == ENETUNREACH) GTEST_SKIP() << "loopback has no broadcast here";
        EXPECT_EQ(error, EACCES);
        UdpSocket loud = create_datagram_endpoint({.local_address = kAnyPort, .broadcast = true});
        EXPECT_EQ(option_of(loud, SO_BROADCAST), 1);
        loud.sendto("to all", everybody);
        Datagram got = all.recvfrom();
        EXPECT_EQ(got.data, "to all");
        EXPECT_EQ(got.from, loud.local_address());
        shy.set_option(SOL_SOCKET, SO_BROADCAST, 1);
        shy.sendto("me too", everybody);
        EXPECT_EQ(all.recv(), "me too");
    });
}

TEST_P(DatagramTest, ASocketSaysWhetherItIsClosed) {
    run([] {
        UdpSocket none;
        EXPECT_TRUE(none.is_closing());
        EXPECT_EQ(none.fd(), -1);
        UdpSocket socket = create_datagram_endpoint({.local_address = kAnyPort});
        EXPECT_FALSE(socket.is_closing());
        EXPECT_NE(::fcntl(socket.fd(), F_GETFL) & O_NONBLOCK, 0);
        EXPECT_EQ(errno_of([&] { socket.set_option(SOL_SOCKET, 9999, 1); }), ENOPROTOOPT);
        UdpSocket moved = std::move(socket);
        EXPECT_TRUE(socket.is_closing());  // NOLINT(bugprone-use-after-move)
        EXPECT_FALSE(moved.is_closing());
        moved.close();
        moved.close();
        EXPECT_TRUE(moved.is_closing());
        EXPECT_EQ(moved.fd(), -1);
        EXPECT_EQ(errno_of([&] { moved.set_option(SOL_SOCKET, SO_BROADCAST, 1); }), EBADF);
        EXPECT_EQ(errno_of([&] { moved.local_address(); }), EBADF);
    });
}

}  // namespace

}  // namespace weft::test
