// Boost's own HTTP, WebSocket and TLS over weft's streams.
#include <array>

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

#include "asio_support.hpp"

namespace weft::test {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;

class AsioTest : public OverAsio {};
WEFT_TEST_ON_THREADS(AsioTest);

void serve_http(TcpStream stream) {
    beast::flat_buffer buffer;
    for (;;) {
        http::request<http::string_body> request;
        boost::system::error_code error;
        http::read(stream, buffer, request, error);
        if (error) return;
        http::response<http::string_body> response(http::status::ok, request.version());
        response.body() = std::string(request.target()) + " " + request.body();
        response.keep_alive(request.keep_alive());
        response.prepare_payload();
        http::write(stream, response, error);
        if (error || !request.keep_alive()) return;
    }
}

TEST_P(AsioTest, BeastsHttpRunsOverAStreamAsItIs) {
    run([] {
        Server server = start_server(serve_http, "127.0.0.1", 0);
        TcpStream client = open_connection("127.0.0.1", server.port());
        beast::flat_buffer buffer;
        for (int i = 0; i < 20; ++i) {
            http::request<http::string_body> request(http::verb::post, "/hello", 11);
            request.body() = std::string(static_cast<std::size_t>(i) * 5000, 'x');
            request.prepare_payload();
            http::write(client, request);
            http::response<http::string_body> response;
            http::read(client, buffer, response);
            EXPECT_EQ(response.body(), "/hello " + request.body());
        }
        client.write_eof();
        http::response<http::string_body> none;
        boost::system::error_code error;
        http::read(client, buffer, none, error);
        EXPECT_EQ(error, http::error::end_of_stream);
    });
}

TEST_P(AsioTest, BeastsWebSocketEchoes) {
    run([] {
        Server server = start_server(
            [](TcpStream stream) {
                websocket::stream<AsioStream<TcpStream>> socket(std::move(stream));
                socket.accept();
                for (;;) {
                    beast::flat_buffer buffer;
                    boost::system::error_code error;
                    socket.read(buffer, error);
                    if (error) {
                        EXPECT_EQ(error, websocket::error::closed);
                        return;
                    }
                    socket.text(socket.got_text());
                    socket.write(buffer.data());
                }
            },
            "127.0.0.1", 0);
        websocket::stream<AsioStream<TcpStream>> client(
            open_connection("127.0.0.1", server.port()));
        client.handshake("localhost", "/");
        for (std::size_t n : {0U, 1U, 125U, 126U, 65'536U, 300'000U}) {
            std::string message(n, 'm');
            client.write(boost::asio::buffer(message));
            beast::flat_buffer buffer;
            client.read(buffer);
            EXPECT_EQ(beast::buffers_to_string(buffer.data()), message);
        }
        client.close(websocket::close_code::normal);
        server.close();
        server.wait_closed();
    });
}

// In the middle of a frame too: what had come of it is there for the next read.
TEST_P(AsioTest, ATimeoutOfAReadLeavesTheWebSocketWhole) {
    run([] {
        Pair pair;
        task_group([&](TaskGroup& tg) {
            tg.create_task([&] {
                websocket::stream<AsioStream<UnixStream&>> server(pair.a);
                server.accept();
                beast::flat_buffer buffer;
                EXPECT_THROW(timeout(5ms, [&] { server.read(buffer); }), TimeoutError);
                server.write(boost::asio::buffer("go on", 5));
                server.read(buffer);
                EXPECT_EQ(beast::buffers_to_string(buffer.data()), "hello");
                server.close(websocket::close_code::going_away);
            });
            websocket::stream<AsioStream<UnixStream&>> client(pair.b);
            client.handshake("localhost", "/");
            // A masked text frame of five bytes, by hand: its mask is zero.
            std::string frame = std::string("\x81\x85\0\0\0\0", 6) + "hello";
            pair.b.write(frame.substr(0, 8));
            beast::flat_buffer buffer;
            client.read(buffer);
            EXPECT_EQ(beast::buffers_to_string(buffer.data()), "go on");
            pair.b.write(frame.substr(8));
            boost::system::error_code error;
            client.read(buffer, error);
            EXPECT_EQ(error, websocket::error::closed);
            EXPECT_EQ(client.reason().code, websocket::close_code::going_away);
        });
    });
}

TEST_P(AsioTest, ErrorsOfTheKernelAreAsiosAndACancelIsThrown) {
    run([] {
        Server server = start_server(
            [](TcpStream stream) {
                stream.read(1);
                stream.abort();
            },
            "127.0.0.1", 0);
        AsioStream reset(open_connection("127.0.0.1", server.port()));
        reset.next_layer().write("x");
        char byte;
        boost::system::error_code error;
        EXPECT_EQ(reset.read_some(boost::asio::buffer(&byte, 1), error), 0U);
        EXPECT_EQ(error, boost::asio::error::connection_reset);
        Pair pair;
        AsioStream<UnixStream&> waiting(pair.a);
        Task<void> reader = create_task([&] {
            boost::system::error_code ignored;
            waiting.read_some(boost::asio::buffer(&byte, 1), ignored);
        });
        yield();
        reader.cancel();
        wait({reader});
        EXPECT_TRUE(reader.cancelled());
    });
}

TEST_P(AsioTest, AsiosComposedReadsAndWrites) {
    run([] {
        Pair pair;
        AsioStream<UnixStream&> a(pair.a);
        AsioStream<UnixStream&> b(pair.b);
        std::string one = "one";
        std::string two = "two";
        EXPECT_EQ(
            boost::asio::write(a, std::array{boost::asio::buffer(one), boost::asio::buffer(two)}),
            6U);
        char first[2];
        char rest[4];
        EXPECT_EQ(
            boost::asio::read(b, std::array{boost::asio::buffer(first), boost::asio::buffer(rest)}),
            6U);
        EXPECT_EQ(std::string(first, 2) + std::string(rest, 4), "onetwo");
        pair.a.close();
        boost::system::error_code error;
        EXPECT_EQ(b.read_some(boost::asio::buffer(rest), error), 0U);
        EXPECT_EQ(error, boost::asio::error::eof);
        EXPECT_THROW(b.read_some(boost::asio::buffer(rest)), boost::system::system_error);
        EXPECT_EQ(a.write_some(boost::asio::buffer(rest), error), 0U);
        EXPECT_EQ(error, boost::asio::error::bad_descriptor);
    });
}

}  // namespace

}  // namespace weft::test
