// From a request to its answer.
#pragma once

#include <string_view>

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include "service.hpp"

namespace compute_server {

namespace http = boost::beast::http;
using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

inline constexpr std::string_view kEchoPath = "/echo";

/// The answer to a request, and its line in the metrics. Waits for what it computes; throws nothing but a cancel. HEAD is
/// answered as GET: whoever sends it leaves the body out.
Response answer(Service& service, const Request& request);
/// To what is no request at all, or came too slowly: nobody knows where the next one would begin, so it is the last answer.
Response refuse(Service& service, http::status status, std::string_view why);

}  // namespace compute_server
