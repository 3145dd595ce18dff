// A WebSocket that says what it hears.
#pragma once

#include <weft/asio.hpp>
#include <weft/time.hpp>

#include <chrono>
#include <cstddef>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

#include "routes.hpp"

namespace compute_server {

inline constexpr auto kMessageLimit = std::chrono::minutes(5);  // from one message to the next
inline constexpr auto kAnswerLimit = std::chrono::seconds(30);
inline constexpr auto kGoodbyeLimit = std::chrono::seconds(1);
inline constexpr std::size_t kMessageBytesMost = 64 * 1024;

/// Answers the request for an upgrade, and each message by itself. Waits until the client ends it, or sends nothing for
/// long, or the server drains. What is wrong on the way ends it.
template <class Stream>
void echo_messages(Service& service, Stream& stream, const Request& request) {
    namespace websocket = boost::beast::websocket;
    auto open = service.metrics.websocket_open();
    websocket::stream<Stream&> socket(stream);
    socket.read_message_max(kMessageBytesMost);
    boost::system::error_code error;
    boost::beast::flat_buffer message;
    try {
        weft::timeout(kAnswerLimit, [&] { socket.accept(request, error); });
        while (!error) {
            bool is_served = service.drain.idle(
                [&] { weft::timeout(kMessageLimit, [&] { socket.read(message, error); }); });
            if (!is_served || error) break;
            socket.text(socket.got_text());
            weft::timeout(kAnswerLimit, [&] { socket.write(message.data(), error); });
            message.consume(message.size());
        }
        // Beast has answered a close of the client's already.
        if (!error)
            weft::timeout(kGoodbyeLimit,
                          [&] { socket.close(websocket::close_code::going_away, error); });
    } catch (const weft::TimeoutError&) {
    }
}

}  // namespace compute_server
