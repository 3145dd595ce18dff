// How long does work from an outside thread wait for an idle runtime?
//
// W10: all workers sleep; a thread that is none of them posts every 200 us; the time is from the
// post until the callable runs. Beside it Boost.Asio (io_context::run in as many threads). Where the
// kernel puts the woken thread decides most of it, so both are measured left alone, and pinned:
//   post/weft, post/asio               wherever the kernel likes
//   post/weft_same_core, ...           poster and worker on one core: a switch of threads
//   post/weft_other_core, ...          on two: waking a core that sleeps (about 20 us in a VM)
#include <thread>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "latencies.hpp"
#include "pinning.hpp"

namespace {

using micro::Clock;
using micro::Cores;
using micro::Pinning;

class WeftRuntime {
public:
    explicit WeftRuntime(unsigned workers) : runtime_({.workers = workers}) {}
    template <class F>
    void post(F&& f) {
        runtime_.post(std::forward<F>(f));
    }

private:
    weft::Runtime runtime_;
};

class AsioRuntime {
public:
    explicit AsioRuntime(unsigned threads) {
        for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { context_.run(); });
    }
    ~AsioRuntime() { guard_.reset(); }
    template <class F>
    void post(F&& f) {
        boost::asio::post(context_, std::forward<F>(f));
    }

private:
    boost::asio::io_context context_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{
        context_.get_executor()};
    std::vector<std::jthread> threads_;
};

template <class Runtime>
void post(benchmark::State& state, Cores cores) {
    if (!Pinning::possible(cores)) return state.SkipWithError("needs two cores");
    Pinning pinning(cores);
    Runtime runtime(micro::workers_of(state));
    pinning.pin_other();
    micro::Latencies latencies(state);
    for (auto _ : state) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        std::atomic<bool> done{false};
        Clock::duration latency{};
        const Clock::time_point posted = Clock::now();
        runtime.post([&] {
            latency = Clock::now() - posted;
            done.store(true);
            done.notify_one();
        });
        // Without spinning, which would keep a core from the worker.
        while (!done.load()) std::this_thread::sleep_for(std::chrono::microseconds(50));
        latencies.add(latency);
    }
}

template <class Benchmark>
void posts(Benchmark* benchmark) {
    benchmark->ArgName("workers")->UseManualTime()->Iterations(1000);
    benchmark->Unit(benchmark::kMicrosecond);
}
template <class Benchmark>
void on_1_and_2(Benchmark* benchmark) {
    posts(benchmark);
    benchmark->Arg(1)->Arg(2);
}
template <class Benchmark>
void on_1(Benchmark* benchmark) {
    posts(benchmark);
    benchmark->Arg(1);
}

void weft_runtime(benchmark::State& state, Cores cores) { post<WeftRuntime>(state, cores); }
void asio_runtime(benchmark::State& state, Cores cores) { post<AsioRuntime>(state, cores); }

BENCHMARK_CAPTURE(weft_runtime, any, Cores::any)->Name("post/weft")->Apply(on_1_and_2);
BENCHMARK_CAPTURE(asio_runtime, any, Cores::any)->Name("post/asio")->Apply(on_1_and_2);
BENCHMARK_CAPTURE(weft_runtime, same, Cores::same)->Name("post/weft_same_core")->Apply(on_1);
BENCHMARK_CAPTURE(asio_runtime, same, Cores::same)->Name("post/asio_same_core")->Apply(on_1);
BENCHMARK_CAPTURE(weft_runtime, other, Cores::other)->Name("post/weft_other_core")->Apply(on_1);
BENCHMARK_CAPTURE(asio_runtime, other, Cores::other)->Name("post/asio_other_core")->Apply(on_1);

}  // namespace
