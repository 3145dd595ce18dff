#include "connection.hpp"

#include <weft/asio.hpp>
#include <weft/time.hpp>

#include <chrono>
#include <optional>
#include <utility>

#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

#include "echo.hpp"
#include "routes.hpp"

namespace compute_server {

namespace {

using namespace std::chrono_literals;
using boost::system::error_code;
namespace ssl = boost::asio::ssl;
namespace beast = boost::beast;

using PlainStream = weft::AsioStream<weft::TcpStream>;
using TlsStream = ssl::stream<PlainStream>;

constexpr auto kIdleLimit = 60s;   // between two requests
constexpr auto kLastLook = 10ms;   // for a request that has come, once the server drains
constexpr auto kWriteLimit = 30s;  // for a client to take an answer
constexpr auto kCloseLimit = 1s;
constexpr std::size_t kHeaderBytesMost = 8 * 1024;
constexpr std::size_t kBodyBytesMost = 64 * 1024;
constexpr std::size_t kRestBytesMost = 256 * 1024;

enum class After { keep_alive, close };

/// Closes so that the client gets what was sent: with input unread, the kernel would send a reset, which may overtake it.
void close_gently(weft::TcpStream& tcp) {
    try {
        weft::timeout(kCloseLimit, [&] {
            tcp.write_eof();
            char rest[4096];
            std::size_t n = 1;
            for (std::size_t sum = 0; n != 0 && sum < kRestBytesMost; sum += n)
                n = tcp.read_some(rest, sizeof rest);
        });
    } catch (const weft::TimeoutError&) {
    } catch (const std::system_error&) {
    }
    tcp.close();
}

/// TLS's own end: without it, the client could not tell whether somebody has cut the answer short.
void say_goodbye(TlsStream& stream) {
    error_code ignored;
    try {
        weft::timeout(kCloseLimit, [&] { stream.shutdown(ignored); });
    } catch (const weft::TimeoutError&) {
    }
}

http::status status_of(const error_code& error) {
    if (error == http::error::header_limit || error == http::error::buffer_overflow)
        return http::status::request_header_fields_too_large;
    if (error == http::error::body_limit) return http::status::payload_too_large;
    return http::status::bad_request;
}

template <class Stream>
class Session {
public:
    Session(Service& service, Stream& stream) : service_(service), stream_(stream) {}

    void serve() {
        while (wait_for_request() && serve_one() == After::keep_alive) {
        }
        if (upgrade_) echo_messages(service_, stream_, *upgrade_);
    }

private:
    /// Whether there is the first byte of one: until then, the client may take its time. Where it has come when the server
    /// begins to drain, read or not, the request is in flight.
    bool wait_for_request() {
        if (buffer_.size() != 0) return true;
        error_code error;
        if (!service_.drain.idle([&] { error = read_first(kIdleLimit); }))
            error = read_first(kLastLook);
        return !error;
    }

    error_code read_first(std::chrono::milliseconds limit) {
        error_code error;
        try {
            weft::timeout(limit,
                          [&] { buffer_.commit(stream_.read_some(buffer_.prepare(4096), error)); });
        } catch (const weft::TimeoutError&) {
            error = beast::error::timeout;
        }
        return error;
    }

    void read(http::request_parser<http::string_body>& parser, error_code& error) {
        http::read_header(stream_, buffer_, parser, error);
        if (error) return;
        if (beast::iequals(parser.get()[http::field::expect], "100-continue"))
            http::write(stream_, http::response<http::empty_body>(http::status::continue_, 11),
                        error);
        if (!error) http::read(stream_, buffer_, parser, error);
    }

    After serve_one() {
        auto in_flight = service_.metrics.request_in_flight();
        http::request_parser<http::string_body> parser;
        parser.header_limit(kHeaderBytesMost);
        parser.body_limit(kBodyBytesMost);
        error_code error;
        try {
            weft::timeout(service_.options.request_timeout, [&] { read(parser, error); });
        } catch (const weft::TimeoutError&) {
            return send(refuse(service_, http::status::request_timeout,
                               "the request took too long to arrive"));
        }
        if (error == http::error::end_of_stream) return After::close;
        if (error && error.category() != error_code(http::error::bad_method).category())
            return After::close;  // there is nobody to be told
        if (error) return send(refuse(service_, status_of(error), error.message()));

        Request request = parser.release();
        if (beast::websocket::is_upgrade(request) &&
            std::string_view(request.target().data(), request.target().size()) == kEchoPath) {
            service_.metrics.count_request(kEchoPath, 101);
            upgrade_ = std::move(request);
            return After::close;
        }
        Response response = answer(service_, request);
        response.version(request.version());
        // What the client has sent behind it is answered too.
        bool is_last = service_.drain.begun() && buffer_.size() == 0;
        response.keep_alive(request.keep_alive() && !is_last);
        return send(std::move(response), request.method());
    }

    After send(Response response, http::verb method = http::verb::get) {
        response.set(http::field::server, "weft");
        response.prepare_payload();
        error_code error;
        try {
            weft::timeout(kWriteLimit, [&] {
                http::response_serializer<http::string_body> serializer(response);
                if (method == http::verb::head)
                    http::write_header(stream_, serializer, error);
                else
                    http::write(stream_, serializer, error);
            });
        } catch (const weft::TimeoutError&) {
            return After::close;
        }
        return !error && response.keep_alive() ? After::keep_alive : After::close;
    }

    Service& service_;
    Stream& stream_;
    std::optional<Request> upgrade_;
    beast::flat_buffer buffer_{kHeaderBytesMost + kBodyBytesMost};
};

}  // namespace

void serve_connection(Service& service, ssl::context* tls, weft::TcpStream tcp) {
    PlainStream plain(std::move(tcp));
    if (tls == nullptr) {
        Session(service, plain).serve();
        close_gently(plain.next_layer());
        return;
    }
    TlsStream stream(std::move(plain), *tls);
    error_code error;
    bool is_served = service.drain.idle([&] {
        try {
            weft::timeout(service.options.request_timeout,
                          [&] { stream.handshake(ssl::stream_base::server, error); });
        } catch (const weft::TimeoutError&) {
            error = beast::error::timeout;
        }
    });
    if (is_served && !error) {
        Session(service, stream).serve();
        say_goodbye(stream);
    }
    close_gently(stream.next_layer().next_layer());
}

}  // namespace compute_server
