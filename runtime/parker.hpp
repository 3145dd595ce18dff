// Where one worker, or one plain thread that waits for a fiber, sleeps: one token, one sleeper.
//
// A token given before the sleep makes the sleep return at once. A worker sleeps either on the futex here or inside
// the driver's poll (one of them at a time), and the word says which, so that the waker knows whom to ring.
#pragma once

#include <weft/lowlevel.hpp>

#include <atomic>
#include <cstdint>

namespace weft::rt {

class Driver;

class Parker {
public:
    /// Sleeps until a token or the deadline; takes the token. True: there was one.
    bool sleep(TimePoint deadline) noexcept;
    /// The same, polling the driver meanwhile.
    bool sleep_in(Driver& driver, TimePoint deadline) noexcept;
    /// Any thread. `driver` may be null where sleep_in() is never used.
    void give_token(Driver* driver) noexcept;

private:
    enum State : std::uint32_t { awake, token, on_futex, in_driver };
    bool enter(State where) noexcept;
    bool leave() noexcept;

    std::atomic<std::uint32_t> state_{awake};
};

}  // namespace weft::rt
