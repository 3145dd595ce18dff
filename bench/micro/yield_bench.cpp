// What does it cost to let another task run?
//
// W4: 1,000 tasks yield 1,000 times each; an operation is one yield. The yardstick beside it is a
// bare Boost.Context round trip (two jumps) between two stacks, which does nothing else: no queue,
// no exception state, no cancellation, and everything in the first-level cache. Between the two:
//   yield/2_tasks      weft without the cache misses of a thousand stacks; two yields are one round
//   yield/bare_ring    jumps through 1,000 stacks in turn, as W4 does: what the misses alone cost;
//                      an operation is one jump
#include <cstddef>
#include <memory>
#include <vector>

#include <boost/context/detail/fcontext.hpp>

#include "measure.hpp"

namespace {

namespace ctx = boost::context::detail;

void yield_in_turn(benchmark::State& state, int tasks_count, int yields) {
    std::vector<weft::Task<void>> tasks;
    tasks.reserve(static_cast<std::size_t>(tasks_count));
    micro::time_in_weft(state, double(tasks_count) * yields, [&] {
        for (int i = 0; i < tasks_count; ++i)
            tasks.push_back(weft::create_task([yields] {
                for (int k = 0; k < yields; ++k) weft::yield();
            }));
        for (auto& task : tasks) weft::await(task);
        tasks.clear();
    });
}

void weft_1000(benchmark::State& state) { yield_in_turn(state, 1000, 1000); }
BENCHMARK(weft_1000)->Name("yield/1000_tasks")->Apply(micro::on_workers);

class Stacks {
public:
    static constexpr std::size_t kBytes = 16 * 1024;

    Stacks(std::size_t count, void (*entry)(ctx::transfer_t)) : memory_(new char[count * kBytes]) {
        for (std::size_t i = 0; i < count; ++i) {
            // Tops that all have the same place in a page would meet in the same few cache sets.
            char* top = &memory_[(i + 1) * kBytes] - i % 40 * 64;
            contexts.push_back(ctx::make_fcontext(top, kBytes / 2, entry));
        }
    }
    std::vector<ctx::fcontext_t> contexts;

private:
    std::unique_ptr<char[]> memory_;
};

void jump_back_for_ever(ctx::transfer_t from) {
    for (;;) from = ctx::jump_fcontext(from.fctx, nullptr);
}

void bare_round_trip(benchmark::State& state) {
    constexpr int kTrips = 100'000;
    Stacks stack(1, jump_back_for_ever);
    ctx::fcontext_t other = stack.contexts[0];
    micro::time_rounds(state, kTrips, [&] {
        for (int i = 0; i < kTrips; ++i) other = ctx::jump_fcontext(other, nullptr).fctx;
    });
}
BENCHMARK(bare_round_trip)->Name("yield/bare_round_trip")->Apply(micro::alone);

/// Contexts that jump to their next in turn; the last of `contexts` is the one who measures.
struct Ring {
    std::vector<ctx::fcontext_t>& contexts;
    std::size_t leaving = 0;
    std::size_t going = 0;
    std::size_t jumps_left = 0;

    std::size_t home() const { return contexts.size() - 1; }
    void arrived(ctx::transfer_t from) { contexts[leaving] = from.fctx; }
    void jump(std::size_t from, std::size_t to) {
        leaving = from;
        going = to;
        arrived(ctx::jump_fcontext(contexts[to], this));
    }
};

void jump_on_for_ever(ctx::transfer_t from) {
    Ring& ring = *static_cast<Ring*>(from.data);
    ring.arrived(from);
    const std::size_t self = ring.going;
    const std::size_t next = self + 1 < ring.home() ? self + 1 : 0;
    for (;;) ring.jump(self, ring.jumps_left-- > 0 ? next : ring.home());
}

void bare_ring(benchmark::State& state) {
    constexpr std::size_t kStacks = 1000;
    constexpr std::size_t kJumps = 100 * kStacks;
    Stacks stacks(kStacks, jump_on_for_ever);
    stacks.contexts.push_back(nullptr);
    Ring ring{stacks.contexts};
    micro::time_rounds(state, kJumps, [&] {
        ring.jumps_left = kJumps;
        ring.jump(ring.home(), 0);
    });
}
BENCHMARK(bare_ring)->Name("yield/bare_ring")->Apply(micro::alone);

void weft_2(benchmark::State& state) { yield_in_turn(state, 2, 100'000); }
BENCHMARK(weft_2)->Name("yield/2_tasks")->Apply(micro::on_workers);

}  // namespace
