// Connections to hosts with several addresses (happy eyeballs), and how they are set up.
#include <string>
#include <vector>

#include <netinet/tcp.h>

#include "net_support.hpp"

namespace weft::test {

namespace {

class ConnectTest : public OnSockets {
protected:
    // The empty name is this host's two loopback addresses.
    void SetUp() override {
        OnSockets::SetUp();
        std::vector<SocketAddress> addresses;
        run([&] { addresses = getaddrinfo("", 1); });
        if (addresses.size() != 2) GTEST_SKIP() << "this machine has not both families";
        first_is_ipv6_ = addresses.front().is_ipv6();
    }
    std::string first() const { return first_is_ipv6_ ? "::1" : "127.0.0.1"; }
    std::string second() const { return first_is_ipv6_ ? "127.0.0.1" : "::1"; }

private:
    bool first_is_ipv6_ = false;
};
WEFT_TEST_ON_THREADS(ConnectTest);

void greet(TcpStream stream) { stream.write("hello"); }

/// A port that answers nobody: its backlog is full, so that the kernel drops who knocks.
class BlackHole {
public:
    BlackHole(const std::string& host, int port) : BlackHole(SocketAddress::ip(host, port)) {}
    ~BlackHole() {
        for (int fd : fds_) ::close(fd);
    }
    BlackHole(const BlackHole&) = delete;
    BlackHole& operator=(const BlackHole&) = delete;

private:
    explicit BlackHole(const SocketAddress& address) {
        auto checked = [](int rc) {
            if (rc < 0) throw std::system_error(errno, std::generic_category(), "BlackHole");
        };
        auto* raw = static_cast<const sockaddr*>(address.data());
        auto size = static_cast<socklen_t>(address.size());
        auto open = [&] {
            fds_.push_back(
                ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
            checked(fds_.back());
            return fds_.back();
        };
        int listener = open();
        int on = 1;
        checked(::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
        checked(::bind(listener, raw, size));
        checked(::listen(listener, 0));
        // More than fit: those that do not stay on their way.
        for (int i = 0; i < 4; ++i) ::connect(open(), raw, size);
    }
    std::vector<int> fds_;
};

TEST_P(ConnectTest, WhereTheFirstAddressRefusesTheNextIsTriedAtOnce) {
    run([this] {
        for (const std::string& host : {first(), second()}) {
            Server server = start_server(greet, host, 0);
            // The delay is no part of it: a refusal is an answer.
            TcpStream stream = open_connection("", server.port(), {.happy_eyeballs_delay = 1h});
            EXPECT_EQ(stream.peer_address(), SocketAddress::ip(host, server.port()));
            EXPECT_EQ(stream.read(), "hello");
        }
    });
}

TEST_P(ConnectTest, WhereTheFirstAddressIsSilentTheNextIsTriedBesideItAndWins) {
    run([this] {
        Server server = start_server(greet, second(), 0);
        BlackHole hole(first(), server.port());
        TcpStream stream = open_connection("", server.port(), {.happy_eyeballs_delay = 20ms});
        EXPECT_EQ(stream.peer_address(), SocketAddress::ip(second(), server.port()));
        EXPECT_EQ(stream.read(), "hello");
        // Alone it waits for as long as one lets it.
        EXPECT_THROW(timeout(20ms, [&] { open_connection(first(), server.port()); }), TimeoutError);
    });
}

TEST_P(ConnectTest, WhereAllRefuseTheErrorNamesEach) {
    run([this] {
        Server server = start_server(greet, "127.0.0.1", 0);
        int port = server.port();
        server.close();
        server.wait_closed();
        try {
            open_connection("", port);
            FAIL();
        } catch (const std::system_error& e) {
            EXPECT_EQ(e.code(), std::errc::connection_refused);
            for (const std::string& host : {first(), second()}) {
                std::string address = SocketAddress::ip(host, port).to_string();
                EXPECT_NE(std::string(e.what()).find(address), std::string::npos) << e.what();
            }
        }
    });
}

// That nothing stays open is looked at by OnSockets.
TEST_P(ConnectTest, ACancelEndsAllAttempts) {
    run([this] {
        Server server = start_server(greet, "127.0.0.1", 0);
        int port = server.port();
        server.close();
        server.wait_closed();
        BlackHole holes[] = {{first(), port}, {second(), port}};
        auto connecting = start([&] { open_connection("", port, {.happy_eyeballs_delay = 1ms}); });
        weft::sleep(10ms);
        EXPECT_FALSE(connecting.done());
        connecting.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(connecting); }), "enough");
        EXPECT_THROW(timeout(10ms, [&] { open_connection("", port); }), TimeoutError);
    });
}

TEST_P(ConnectTest, AFamilyIsKeptTo) {
    run([] {
        Server server = start_server(greet, "", 0);
        for (Family family : {Family::ipv4, Family::ipv6}) {
            TcpStream stream = open_connection("", server.port(), {.family = family});
            EXPECT_EQ(stream.peer_address().is_ipv6(), family == Family::ipv6);
            EXPECT_EQ(stream.read(), "hello");
        }
        Server four = start_server(greet, "", 0, {.family = Family::ipv4});
        EXPECT_EQ(four.addresses().size(), 1U);
        EXPECT_THROW(open_connection("::1", four.port()), std::system_error);
    });
}

TEST_P(ConnectTest, TheLocalAddressIsTheOneThatWasAskedFor) {
    run([] {
        Server server = start_server(greet, "127.0.0.1", 0);
        SocketAddress from = SocketAddress::ip("127.0.0.2", 0);
        TcpStream stream = open_connection(server.addresses().front(), {.local_address = from});
        EXPECT_EQ(stream.local_address().host(), "127.0.0.2");
        SocketAddress not_ours = SocketAddress::ip("192.0.2.1", 0);
        EXPECT_EQ(errno_of([&] {
                      open_connection(server.addresses().front(), {.local_address = not_ours});
                  }),
                  EADDRNOTAVAIL);
    });
}

TEST_P(ConnectTest, OptionsReachTheKernelAtBothEnds) {
    run([] {
        TcpOptions tcp{
            .nodelay = false, .keepalive = true, .send_buffer = 16'384, .receive_buffer = 8'192};
        auto expect_options = [](const TcpStream& stream) {
            EXPECT_EQ(stream.get_option(IPPROTO_TCP, TCP_NODELAY), 0);
            EXPECT_EQ(stream.get_option(SOL_SOCKET, SO_KEEPALIVE), 1);
            // Linux doubles them for its own needs.
            EXPECT_EQ(stream.get_option(SOL_SOCKET, SO_SNDBUF), 2 * 16'384);
            EXPECT_EQ(stream.get_option(SOL_SOCKET, SO_RCVBUF), 2 * 8'192);
        };
        Server server = start_server(
            [&](TcpStream stream) {
                expect_options(stream);
                greet(std::move(stream));
            },
            "127.0.0.1", 0, {.tcp = tcp});
        TcpStream stream = open_connection("127.0.0.1", server.port(), {.tcp = tcp});
        expect_options(stream);
        stream.set_option(IPPROTO_TCP, TCP_NODELAY, 1);
        EXPECT_EQ(stream.get_option(IPPROTO_TCP, TCP_NODELAY), 1);
        EXPECT_EQ(stream.read(), "hello");
    });
}

}  // namespace

}  // namespace weft::test
