// Clocks, counters and the heartbeat; see measure.hpp.
#include "measure.hpp"

#include <algorithm>
#include <fstream>
#include <string>

#include <sys/resource.h>

namespace weft_compare {
namespace {

double cpu_seconds(int who) {
    rusage usage{};
    ::getrusage(who, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

LagLog::LagLog() {
    // Half a minute of beats: the log should not be what makes the heart late.
    late_us_.reserve(30'000);
}

void LagLog::beat(Clock::time_point now) {
    for (; due_ <= now; due_ += kPeriod) {
        const auto late = std::chrono::duration_cast<std::chrono::microseconds>(now - due_);
        late_us_.push_back(static_cast<std::uint32_t>(late.count()));
    }
}

std::optional<Lag> LagLog::summary() const {
    if (late_us_.empty()) return std::nullopt;
    std::vector<std::uint32_t> sorted = late_us_;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t p99 = (sorted.size() * 99 + 99) / 100 - 1;  // nearest rank
    return Lag{sorted[p99] / 1e3, sorted.back() / 1e3, sorted.size()};
}

ThreadHeartbeat::ThreadHeartbeat(LagLog& log) : log_(log) {
    log_.start(Clock::now());
    thread_ = std::thread([this] {
        while (!stop_) {
            std::this_thread::sleep_until(log_.due());
            log_.beat(Clock::now());
        }
    });
}

ThreadHeartbeat::~ThreadHeartbeat() {
    stop_ = true;
    thread_.join();
}

double cpu_seconds_self() { return cpu_seconds(RUSAGE_SELF); }
double cpu_seconds_children() { return cpu_seconds(RUSAGE_CHILDREN); }

std::uint64_t peak_resident_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        std::uint64_t kib = 0;
        if (word == "VmHWM:" && status >> kib) return kib * 1024;
    }
    return 0;
}

Stopwatch::Stopwatch() : start_(Clock::now()), cpu_start_s_(cpu_seconds_self()) {}

void Stopwatch::stop() {
    if (stopped_) return;
    stopped_ = true;
    wall_s_ = std::chrono::duration<double>(Clock::now() - start_).count();
    cpu_s_ = cpu_seconds_self() - cpu_start_s_;
    peak_bytes_ = peak_resident_bytes();
}

}  // namespace weft_compare
