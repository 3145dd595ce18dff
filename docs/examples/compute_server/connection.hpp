// One client's connection, from its first byte to its last.
#pragma once

#include <weft/stream.hpp>

#include <boost/asio/ssl/context.hpp>

#include "service.hpp"

namespace compute_server {

/// Serves HTTP/1.1, and WebSocket where it is asked for; over TLS, if there is a context. Waits until the client has gone,
/// or has had its time, or the server drains.
void serve_connection(Service& service, boost::asio::ssl::context* tls, weft::TcpStream tcp);

}  // namespace compute_server
