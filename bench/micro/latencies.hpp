// Latencies: one operation an iteration, reported by percentile.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "measure.hpp"

namespace micro {

using Clock = std::chrono::steady_clock;

/// Collects one latency an iteration; the time of the benchmark is their mean.
class Latencies {
public:
    explicit Latencies(benchmark::State& state) : state_(state) {}
    ~Latencies() {
        if (seconds_.empty()) return;
        std::sort(seconds_.begin(), seconds_.end());
        state_.counters["p50"] = seconds_[seconds_.size() / 2];
        state_.counters["p99"] = seconds_[seconds_.size() * 99 / 100];
    }
    Latencies(const Latencies&) = delete;
    Latencies& operator=(const Latencies&) = delete;

    void add(Clock::duration latency) {
        seconds_.push_back(std::chrono::duration<double>(latency).count());
        state_.SetIterationTime(seconds_.back());
    }

private:
    benchmark::State& state_;
    std::vector<double> seconds_;
};

}  // namespace micro
