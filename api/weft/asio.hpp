// weft's streams for Boost.Asio's and Boost.Beast's code: HTTP, WebSocket, TLS. Opt-in: <weft/weft.hpp> includes no Boost.
//
// Including this is enough for Beast's HTTP over a weft stream: http::read and http::write take it as it is. What asks for
// more than reading and writing (boost::asio::ssl::stream, Beast's websocket::stream) is given an AsioStream, which has the
// executor, the lowest layer and the teardown that those look for.
//
// Only Asio's synchronous calls are for here: each waits its fiber and nothing else. The executor is there because the
// types have to have one; nothing is ever run on it. Errors are Boost's, and the end of the stream is asio::error::eof; a
// cancel is weft::CancelledError, thrown through Asio's code.
#pragma once

#include <weft/stream.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

namespace weft {

namespace detail {

template <>
struct ErrorAs<boost::system::error_code> {
    static boost::system::error_code from(const std::error_code& error) noexcept {
        // What the kernel said has the same number there.
        if (error.category() == std::generic_category() ||
            error.category() == std::system_category())
            return {error.value(), boost::system::system_category()};
        return boost::asio::error::fault;
    }
    static boost::system::error_code end() noexcept { return boost::asio::error::eof; }
};

/// Of all AsioStreams: never run.
inline boost::asio::io_context& idle_io_context() {
    static auto& context = *new boost::asio::io_context;
    return context;
}

}  // namespace detail

/// A weft stream (or a reference to one: AsioStream<TcpStream&>) as a layer below Asio's and Beast's own streams.
///
///     boost::asio::ssl::stream<weft::AsioStream<weft::TcpStream>> tls(weft::open_connection(host, 443), context);
///     tls.handshake(boost::asio::ssl::stream_base::client);
template <class S>
class AsioStream {
public:
    using next_layer_type = std::remove_reference_t<S>;
    using lowest_layer_type = AsioStream;
    using executor_type = boost::asio::io_context::executor_type;

    explicit AsioStream(S stream) : stream_(std::forward<S>(stream)) {}

    next_layer_type& next_layer() noexcept { return stream_; }
    const next_layer_type& next_layer() const noexcept { return stream_; }
    lowest_layer_type& lowest_layer() noexcept { return *this; }
    const lowest_layer_type& lowest_layer() const noexcept { return *this; }
    executor_type get_executor() const noexcept { return detail::idle_io_context().get_executor(); }

    /// Asio's SyncReadStream and SyncWriteStream. Waits; a cancel is CancelledError.
    template <class Buffers>
    std::size_t read_some(const Buffers& buffers, boost::system::error_code& error) {
        return stream_.read_some(buffers, error);
    }
    template <class Buffers>
    std::size_t read_some(const Buffers& buffers) {
        boost::system::error_code error;
        std::size_t n = read_some(buffers, error);
        if (error) throw boost::system::system_error(error, "read_some");
        return n;
    }
    template <class Buffers>
    std::size_t write_some(const Buffers& buffers, boost::system::error_code& error) {
        return stream_.write_some(buffers, error);
    }
    template <class Buffers>
    std::size_t write_some(const Buffers& buffers) {
        boost::system::error_code error;
        std::size_t n = write_some(buffers, error);
        if (error) throw boost::system::system_error(error, "write_some");
        return n;
    }
    void close() noexcept { stream_.close(); }

private:
    S stream_;
};

template <class S>
AsioStream(S&&) -> AsioStream<S>;

/// Beast's closing of the layer below a WebSocket: ends what is sent, reads what is left of the peer's, and closes.
template <class S>
void teardown(boost::beast::role_type role, AsioStream<S>& stream,
              boost::system::error_code& error) {
    error = {};
    try {
        stream.next_layer().write_eof();
        char rest[512];
        // The server closes first in the protocol, and waits for the client's end so that its last frame gets there; not
        // for ever, where the client goes on sending.
        if (role == boost::beast::role_type::server)
            for (int i = 0; i < 256 && stream.next_layer().read_some(rest, sizeof rest) != 0; ++i) {
            }
    } catch (const std::system_error& e) {
        error = detail::ErrorAs<boost::system::error_code>::from(e.code());
    }
    stream.close();
}

}  // namespace weft
