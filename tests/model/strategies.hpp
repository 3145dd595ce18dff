// How the explorer chooses who goes on: see explorer.hpp for the sources.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "explorer.hpp"

namespace weft::model {

inline constexpr unsigned kNobody = ~0u;

/// A moment at which a choice must be made. `enabled` is a set of bits and never empty.
struct Moment {
    std::uint32_t enabled;
    unsigned current;  ///< who ran last, or kNobody
    bool may_stay;     ///< current is enabled and did not ask to be left
    std::size_t step;
};

class Chooser {
public:
    virtual ~Chooser() = default;
    /// A new execution of `threads` virtual threads. False: there is no other schedule to try.
    virtual bool begin(unsigned threads) = 0;
    virtual unsigned thread(const Moment& moment) = 0;
    virtual unsigned value(unsigned n) = 0;
    /// The execution is over.
    virtual void end(std::size_t /*steps*/) {}
    virtual std::uint64_t seed() const { return 0; }
    /// Whether begin() returned false because everything has been tried.
    virtual bool complete() const { return false; }
};

std::unique_ptr<Chooser> make_chooser(const Plan& plan);

/// What was chosen in one execution, as text: "0x7 2 v1 0x3" is thread 0 seven times, thread 2 once, the value 1, ...
class Schedule {
public:
    void clear() { choices_.clear(); }
    void add_thread(unsigned thread) { choices_.push_back(static_cast<std::uint8_t>(thread)); }
    void add_value(unsigned value) {
        choices_.push_back(static_cast<std::uint8_t>(kValue | value));
    }
    std::string text() const;
    static Schedule parse(const std::string& text);

    std::size_t size() const { return choices_.size(); }
    bool is_value(std::size_t i) const { return (choices_[i] & kValue) != 0; }
    unsigned at(std::size_t i) const { return choices_[i] & ~kValue & 0xffu; }

private:
    static constexpr unsigned kValue = 0x80;
    std::vector<std::uint8_t> choices_;
};

std::unique_ptr<Chooser> make_replayer(Schedule schedule);

}  // namespace weft::model
