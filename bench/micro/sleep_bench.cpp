// How late does a sleeping task wake?
//
// W11: one task sleeps 1 ms again and again in an otherwise idle runtime; the time is what a sleep
// took longer. Beside it Boost.Asio's steady_timer, which waits on a timerfd.
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "latencies.hpp"

namespace {

using micro::Clock;

constexpr std::chrono::milliseconds kSleep{1};

template <class Sleep>
void time_sleeps(benchmark::State& state, Sleep sleep) {
    micro::Latencies latencies(state);
    for (auto _ : state) {
        const Clock::time_point start = Clock::now();
        sleep();
        latencies.add(Clock::now() - start - kSleep);
    }
}

void weft_sleep(benchmark::State& state) {
    weft::run([&] { time_sleeps(state, [] { weft::sleep(kSleep); }); },
              {.workers = micro::workers_of(state)});
}

void asio_timer(benchmark::State& state) {
    boost::asio::io_context context;
    boost::asio::steady_timer timer(context);
    time_sleeps(state, [&] {
        timer.expires_after(kSleep);
        timer.async_wait([](const auto&) {});
        context.restart();
        context.run();
    });
}

template <class Benchmark>
void sleeps(Benchmark* benchmark) {
    benchmark->UseManualTime()->Iterations(300)->Unit(benchmark::kMicrosecond);
}
template <class Benchmark>
void on_1_and_2(Benchmark* benchmark) {
    sleeps(benchmark);
    benchmark->ArgName("workers")->Arg(1)->Arg(2);
}

BENCHMARK(weft_sleep)->Name("sleep_1ms/weft")->Apply(on_1_and_2);
BENCHMARK(asio_timer)->Name("sleep_1ms/asio")->Apply(sleeps);

}  // namespace
