// The engine's source of chance: xorshift64*, one for each worker, so that a seed decides every free choice.
// Source: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016.
#pragma once

#include <cstdint>

namespace weft::rt {

class Random {
public:
    explicit Random(std::uint64_t seed) noexcept : state_(seed * 0x9E3779B97F4A7C15ULL | 1) {}
    std::uint64_t next() noexcept {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545F4914F6CDD1DULL;
    }
    /// 0..n-1
    unsigned below(unsigned n) noexcept {
        return static_cast<unsigned>(
            (static_cast<std::uint64_t>(static_cast<std::uint32_t>(next() >> 32)) * n) >> 32);
    }

private:
    std::uint64_t state_;
};

}  // namespace weft::rt
