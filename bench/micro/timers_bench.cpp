// What does a timer cost: one that is stopped before it fires, as most timeouts are, and one that
// fires?
//
//   timers/start_stop          the engine's own timer, alone
//   timers/start_stop_of_100k  the same while 100,000 others are pending
//   timers/timeout             weft::timeout around nothing: what a user pays
//   timers/fire                100,000 timers with random deadlines within a millisecond, started
//                              and fired; an operation is one timer
#include <weft/lowlevel.hpp>

#include <chrono>
#include <random>
#include <vector>

#include "measure.hpp"

namespace {

using namespace std::chrono_literals;
using weft::detail::TimerNode;

constexpr int kOps = 100'000;
constexpr std::size_t kPending = 100'000;

class Random {
public:
    weft::Duration below(weft::Duration limit) {
        return weft::Duration(std::uniform_int_distribution<long>(0, limit.count() - 1)(engine_));
    }

private:
    std::minstd_rand engine_;
};

void start_stop_once(weft::TimePoint deadline) {
    TimerNode node;
    node.deadline = deadline;
    node.fire = [](TimerNode&) noexcept {};
    weft::detail::start_timer(node);
    weft::detail::stop_timer(node);
}

void start_stop(benchmark::State& state, std::size_t pending) {
    weft::run(
        [&] {
            Random random;
            std::vector<TimerNode> others(pending);
            for (auto& node : others) {
                node.deadline = weft::now() + 1h + random.below(1h);
                node.fire = [](TimerNode&) noexcept {};
                weft::detail::start_timer(node);
            }
            const weft::TimePoint from = weft::now() + 1h;
            micro::time_rounds(state, kOps, [&] {
                for (int i = 0; i < kOps; ++i) start_stop_once(from + weft::Duration(i * 7919L));
            });
            for (auto& node : others) weft::detail::stop_timer(node);
        },
        {.workers = micro::workers_of(state)});
}
BENCHMARK_CAPTURE(start_stop, 0, 0)->Name("timers/start_stop")->Apply(micro::on_workers);
BENCHMARK_CAPTURE(start_stop, 100k, kPending)
    ->Name("timers/start_stop_of_100k")
    ->Apply(micro::on_workers);

void timeout(benchmark::State& state) {
    micro::time_in_weft(state, kOps, [] {
        for (int i = 0; i < kOps; ++i) weft::timeout(1h, [] {});
    });
}
BENCHMARK(timeout)->Name("timers/timeout")->Apply(micro::on_workers);

struct Counted : TimerNode {
    std::atomic<std::size_t>* fired = nullptr;
};

void fire(benchmark::State& state) {
    std::vector<Counted> nodes(kPending);
    micro::time_in_weft(state, kPending, [&] {
        Random random;
        std::atomic<std::size_t> fired{0};
        const weft::TimePoint start = weft::now();
        for (auto& node : nodes) {
            node.deadline = start + random.below(1ms);
            node.fired = &fired;
            node.fire = [](TimerNode& self) noexcept {
                static_cast<Counted&>(self).fired->fetch_add(1);
            };
            weft::detail::start_timer(node);
        }
        while (fired.load() < nodes.size()) weft::sleep(10us);
        for (auto& node : nodes) weft::detail::stop_timer(node);
    });
}
BENCHMARK(fire)->Name("timers/fire")->Apply(micro::on_workers);

}  // namespace
