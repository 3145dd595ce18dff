// What is measured inside a model's own process: the clock, the CPU time, the peak of memory, and
// the heartbeat.
//
// The heartbeat asks what a user of the program would feel: something that should run every
// millisecond, how late does it run? In an event loop it is a task of that loop, elsewhere a
// thread. It keeps to a fixed timetable: when the loop is busy for 2 s, two thousand beats were
// late, not one. Measured from beat to beat, the worst moments would hide themselves (Gil Tene's
// "coordinated omission").
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

namespace weft_compare {

using Clock = std::chrono::steady_clock;

struct Lag {
    double p99_ms = 0;
    double max_ms = 0;
    std::size_t beats = 0;
};

// The timetable of a heartbeat and how it was kept. One thread or task at a time.
class LagLog {
public:
    static constexpr std::chrono::milliseconds kPeriod{1};

    LagLog();

    void start(Clock::time_point now) { due_ = now + kPeriod; }
    Clock::time_point due() const { return due_; }
    // The heart beats now: books every beat that was due by now.
    void beat(Clock::time_point now);

    std::optional<Lag> summary() const;  // nothing where the heart never beat

private:
    Clock::time_point due_{};
    std::vector<std::uint32_t> late_us_;
};

// The heartbeat of programs without an event loop: a thread of its own, for the scope's time.
class ThreadHeartbeat {
public:
    explicit ThreadHeartbeat(LagLog& log);
    ~ThreadHeartbeat();
    ThreadHeartbeat(const ThreadHeartbeat&) = delete;
    ThreadHeartbeat& operator=(const ThreadHeartbeat&) = delete;

private:
    LagLog& log_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

double cpu_seconds_self();
double cpu_seconds_children();  // of those that were waited for, with their own

// The largest resident memory of this process so far. From VmHWM: ru_maxrss survives exec, so that
// it may tell the parent's peak.
std::uint64_t peak_resident_bytes();

// From construction to stop(), which counts once: a model may stop it before it takes its threads
// down.
class Stopwatch {
public:
    Stopwatch();
    void stop();

    double wall_s() const { return wall_s_; }
    double cpu_s() const { return cpu_s_; }
    std::uint64_t peak_bytes() const { return peak_bytes_; }

private:
    Clock::time_point start_;
    double cpu_start_s_;
    bool stopped_ = false;
    double wall_s_ = 0;
    double cpu_s_ = 0;
    std::uint64_t peak_bytes_ = 0;
};

}  // namespace weft_compare
