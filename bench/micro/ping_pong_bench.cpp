// What does it cost when two tasks do nothing but wait for each other?
//
// W5: two tasks send a number to and fro through two Queues of capacity 1; an operation is a round
// trip: two puts, two gets, and with one worker two waits. With two workers it shows whether a pair
// that talks all the time is kept together.
#include "measure.hpp"

namespace {

constexpr int kTrips = 100'000;

void queues(benchmark::State& state) {
    micro::time_in_weft(state, kTrips, [] {
        weft::Queue<int> there(1);
        weft::Queue<int> back(1);
        auto partner = weft::create_task([&] {
            for (int i = 0; i < kTrips; ++i) back.put(there.get() + 1);
        });
        int number = 0;
        for (int i = 0; i < kTrips; ++i) {
            there.put(number);
            number = back.get();
        }
        weft::await(partner);
        micro::require(number == kTrips, "ping-pong");
    });
}
BENCHMARK(queues)->Name("ping_pong/queue_capacity_1")->Apply(micro::on_workers);

}  // namespace
