// The compute server's WebSocket and TLS, by Beast's client, curl and openssl.
#include <weft/asio.hpp>

#include <csignal>
#include <filesystem>

#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <unistd.h>

#include "examples/compute_server_support.hpp"

namespace weft::test {

namespace {

namespace beast = boost::beast;
namespace ssl = boost::asio::ssl;
namespace websocket = boost::beast::websocket;
using WebSocket = websocket::stream<AsioStream<TcpStream>>;

template <class Socket>
void expect_echo(Socket& socket, const std::string& message) {
    socket.write(boost::asio::buffer(message));
    beast::flat_buffer echo;
    socket.read(echo);
    EXPECT_EQ(beast::buffers_to_string(echo.data()), message);
}

template <class Socket>
std::uint16_t code_of_close(Socket& socket) {
    beast::flat_buffer none;
    boost::system::error_code error;
    socket.read(none, error);
    EXPECT_EQ(error, websocket::error::closed);
    return socket.reason().code;
}

TEST_F(ComputeServerTest, TheWebSocketEchoes) {
    run([] {
        ComputeServer server;
        WebSocket socket(server.connect());
        socket.handshake("localhost", "/echo");
        for (std::size_t n : {0U, 1U, 125U, 126U, 65'536U})
            expect_echo(socket, std::string(n, 'm'));
        socket.binary(true);
        expect_echo(socket, std::string("\0\xff", 2));
        EXPECT_TRUE(socket.got_binary());
        server.await_metric("websockets_open 1");
        socket.close(websocket::close_code::normal);
        server.await_metric("websockets_open 0");
    });
}

TEST_F(ComputeServerTest, AMessageThatIsTooLargeEndsItsWebSocketAlone) {
    run([] {
        ComputeServer server;
        WebSocket other(server.connect());
        other.handshake("localhost", "/echo");
        WebSocket socket(server.connect());
        socket.handshake("localhost", "/echo");
        socket.write(boost::asio::buffer(std::string(65'537, 'x')));
        EXPECT_EQ(code_of_close(socket), websocket::close_code::too_big);
        expect_echo(other, "here");
    });
}

TEST_F(ComputeServerTest, SigtermSaysGoodbyeToWebSockets) {
    run([] {
        ComputeServer server({"--grace", "3600"});
        WebSocket socket(server.connect());
        socket.handshake("localhost", "/echo");
        expect_echo(socket, "hello");
        server.signal(SIGTERM);
        EXPECT_EQ(code_of_close(socket), websocket::close_code::going_away);
        EXPECT_EQ(server.exit_status(), 0);
    });
}

// --- TLS ----------------------------------------------------------------------------------------------------------

/// A certificate for 127.0.0.1 that has signed itself, and its key.
class TlsOfComputeServer : public ComputeServerTest {
protected:
    void SetUp() override {
        stem_ = ::testing::TempDir() + "weft-compute-server-" + std::to_string(::getpid());
        run([&] {
            Process openssl = create_subprocess_exec(
                {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
                 "subjectAltName=IP:127.0.0.1", "-keyout", key(), "-out", cert()},
                {.in = Stdio::devnull, .out = Stdio::devnull, .err = Stdio::devnull});
            ASSERT_EQ(openssl.wait(), 0);
        });
    }
    void TearDown() override {
        std::filesystem::remove(key());
        std::filesystem::remove(cert());
    }
    std::string key() const { return stem_ + ".key"; }
    std::string cert() const { return stem_ + ".crt"; }

private:
    std::string stem_;
};

TEST_F(TlsOfComputeServer, CurlTrustsItAndIsServed) {
    run([&] {
        ComputeServer server({"--cert", cert(), "--key", key()});
        EXPECT_EQ(server.url("").rfind("https://", 0), 0U);
        EXPECT_EQ(server.curl("/hello", {"--cacert", cert()}).body, "hello\n");
        EXPECT_EQ(server.curl("/hash?n=1", {"--cacert", cert(), "--http1.1"}).status, 200);
        // Who does not speak TLS gets nothing, and takes nothing from others.
        EXPECT_EQ(server.get("/hello").status, 0);
        EXPECT_EQ(server.curl("/hello", {"--cacert", cert()}).status, 200);
    });
}

TEST_F(TlsOfComputeServer, SigtermDoesNotWaitForAHandshake) {
    run([&] {
        ComputeServer server(
            {"--cert", cert(), "--key", key(), "--request-timeout", "3600", "--grace", "3600"});
        TcpStream silent = server.connect();
        // Connections are accepted in order, so the silent one has been.
        EXPECT_EQ(server.curl("/hello", {"--cacert", cert()}).status, 200);
        server.signal(SIGTERM);
        EXPECT_EQ(silent.read(), "");
        EXPECT_EQ(server.exit_status(), 0);
    });
}

TEST_F(TlsOfComputeServer, OpensslsClientIsServed) {
    run([&] {
        ComputeServer server({"--cert", cert(), "--key", key()});
        Process openssl = create_subprocess_exec(
            {"openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", cert(), "-connect",
             "127.0.0.1:" + std::to_string(server.port())},
            {.in = Stdio::pipe, .out = Stdio::pipe, .err = Stdio::devnull});
        Reply reply(openssl.communicate(ComputeServer::request("/hello")).first);
        EXPECT_EQ(reply.status, 200);
        EXPECT_EQ(reply.body, "hello\n");
        EXPECT_EQ(openssl.wait(), 0);
        server.signal(SIGTERM);
        EXPECT_EQ(server.exit_status(), 0);
    });
}

TEST_F(TlsOfComputeServer, TheWebSocketEchoesOverTls) {
    run([&] {
        ComputeServer server({"--cert", cert(), "--key", key()});
        ssl::context context(ssl::context::tls_client);
        context.load_verify_file(cert());
        context.set_verify_mode(ssl::verify_peer);
        websocket::stream<ssl::stream<AsioStream<TcpStream>>> socket(
            AsioStream<TcpStream>(server.connect()), context);
        socket.next_layer().handshake(ssl::stream_base::client);
        socket.handshake("localhost", "/echo");
        for (std::size_t n : {1U, 20'000U, 65'536U}) expect_echo(socket, std::string(n, 'm'));
        server.signal(SIGTERM);
        EXPECT_EQ(code_of_close(socket), websocket::close_code::going_away);
        EXPECT_EQ(server.exit_status(), 0);
    });
}

}  // namespace

}  // namespace weft::test
