// What does the waist itself cost: a park and an unpark, with as little as can be on top?
//
// Two tasks wake each other through the smallest primitive that weft::lowlevel allows: a baton, one
// word and a Waiter. An operation is a round trip: two parks, two unparks. What ping_pong_bench takes
// longer is the Queue's.
#include <weft/lowlevel.hpp>

#include "measure.hpp"

namespace {

namespace low = weft::lowlevel;

constexpr int kTrips = 100'000;

/// Passed from one task that wakes to one that waits.
class Baton {
public:
    void wait() {
        low::park({"Baton.wait", this}, [this](low::Waiter self) noexcept {
            waiter_ = self;
            State empty = State::empty;
            return state_.compare_exchange_strong(empty, State::awaited);
        });
        state_.store(State::empty, std::memory_order_relaxed);
    }
    void pass() {
        if (state_.exchange(State::passed) == State::awaited) low::unpark(waiter_);
    }

private:
    enum class State { empty, awaited, passed };
    std::atomic<State> state_{State::empty};
    low::Waiter waiter_;
};

void round_trip(benchmark::State& state) {
    micro::time_in_weft(state, kTrips, [] {
        Baton there;
        Baton back;
        auto partner = weft::create_task([&] {
            for (int i = 0; i < kTrips; ++i) {
                there.wait();
                back.pass();
            }
        });
        for (int i = 0; i < kTrips; ++i) {
            there.pass();
            back.wait();
        }
        weft::await(partner);
    });
}
BENCHMARK(round_trip)->Name("park/round_trip")->Apply(micro::on_workers);

}  // namespace
