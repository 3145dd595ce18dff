// What the server counts, and how Prometheus reads it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace compute_server {

class Metrics {
public:
    /// One more, for as long as it lives.
    class Gauge {
    public:
        explicit Gauge(std::atomic<std::int64_t>& value) : value_(value) { ++value_; }
        ~Gauge() { --value_; }
        Gauge(const Gauge&) = delete;
        Gauge& operator=(const Gauge&) = delete;

    private:
        std::atomic<std::int64_t>& value_;
    };

    /// `route` must be one of few, and must live on: clients shall not make labels.
    void count_request(std::string_view route, unsigned status);
    void count_rejected() { ++rejected_; }
    Gauge request_in_flight() { return Gauge(in_flight_); }
    Gauge websocket_open() { return Gauge(websockets_); }

    /// Prometheus' text format.
    std::string text(std::ptrdiff_t compute_in_use, std::ptrdiff_t compute_limit) const;

private:
    std::atomic<std::int64_t> in_flight_{0};
    std::atomic<std::int64_t> websockets_{0};
    std::atomic<std::uint64_t> rejected_{0};
    mutable std::mutex mutex_;  // guards what follows
    std::map<std::pair<std::string_view, unsigned>, std::uint64_t> requests_;
};

}  // namespace compute_server
