// The computations, and how many of them run at once.
#pragma once

#include <weft/capacity_limiter.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include "evil.hpp"
#include "mandelbrot.hpp"

namespace compute_server {

/// Each function waits, for the computation and for nothing else, while its worker serves other requests.
class Compute {
public:
    explicit Compute(std::ptrdiff_t limit) : limiter_(limit) {}

    /// A place, held by the task; it converts to false where all are taken. More work than the machine can do is refused at
    /// once, so that what it has accepted does not wait.
    std::unique_lock<weft::CapacityLimiter> try_enter() {
        return std::unique_lock(limiter_, std::try_to_lock);
    }
    std::ptrdiff_t in_use() const noexcept { return limiter_.borrowed_tokens(); }
    std::ptrdiff_t limit() const noexcept { return limiter_.total_tokens(); }

    /// A PNG. weft::TimeoutError where it takes too long.
    std::string mandelbrot(const MandelbrotView& view);
    /// SHA-256 of nothing, and n - 1 times that of the digest before, in hexadecimal.
    std::string hash(std::int64_t n);
    EvilEnd evil(std::string_view way) { return evil_.run(way); }

private:
    weft::CapacityLimiter limiter_;
    Evil evil_;
};

}  // namespace compute_server
