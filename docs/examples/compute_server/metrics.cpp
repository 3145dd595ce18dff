#include "metrics.hpp"

namespace compute_server {

void Metrics::count_request(std::string_view route, unsigned status) {
    std::lock_guard guard(mutex_);
    ++requests_[{route, status}];
}

std::string Metrics::text(std::ptrdiff_t compute_in_use, std::ptrdiff_t compute_limit) const {
    std::string text;
    auto describe = [&](const char* name, const char* type, const char* help) {
        text += std::string("# HELP ") + name + " " + help + "\n";
        text += std::string("# TYPE ") + name + " " + type + "\n";
    };
    auto add = [&](const char* name, const char* type, const char* help, std::int64_t value) {
        describe(name, type, help);
        text += std::string(name) + " " + std::to_string(value) + "\n";
    };
    describe("http_requests_total", "counter", "Requests answered, by route and status.");
    {
        std::lock_guard guard(mutex_);
        for (const auto& [key, count] : requests_)
            text += "http_requests_total{route=\"" + std::string(key.first) + "\",status=\"" +
                    std::to_string(key.second) + "\"} " + std::to_string(count) + "\n";
    }
    add("http_requests_in_flight", "gauge",
        "Requests that have begun to come and are not answered yet.", in_flight_);
    add("websockets_open", "gauge", "WebSocket connections.", websockets_);
    add("compute_in_use", "gauge", "Computations that run.", compute_in_use);
    add("compute_limit", "gauge", "Computations that may run at once.", compute_limit);
    add("compute_rejected_total", "counter", "Computations refused because too many ran.",
        static_cast<std::int64_t>(rejected_.load()));
    return text;
}

}  // namespace compute_server
