#include "parker.hpp"

#include "driver.hpp"
#include "sys.hpp"

namespace weft::rt {

bool Parker::enter(State where) noexcept {
    std::uint32_t expected = awake;
    if (state_.compare_exchange_strong(expected, where)) return true;
    state_.store(awake);  // it was a token: taken
    return false;
}

bool Parker::leave() noexcept { return state_.exchange(awake) == token; }

bool Parker::sleep(TimePoint deadline) noexcept {
    if (!enter(on_futex)) return true;
    while (state_.load() == on_futex) {
        if (!sys::futex_wait_until(state_, on_futex, deadline)) break;
    }
    return leave();
}

bool Parker::sleep_in(Driver& driver, TimePoint deadline) noexcept {
    if (!enter(in_driver)) return true;
    driver.wait(deadline);
    return leave();
}

void Parker::give_token(Driver* driver) noexcept {
    switch (state_.exchange(token)) {
        case on_futex:
            sys::futex_wake_one(state_);
            break;
        case in_driver:
            driver->wake();
            break;
        default:
            break;
    }
}

}  // namespace weft::rt
