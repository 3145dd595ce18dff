// What does it cost to leave the process?
//
//   process/socketpair         64 bytes to another process and back, with nothing of weft's in between:
//                              what the kernel's two wake-ups cost
//   process/round_trip         the same through to_process, from a task; from a thread
//   process/in_flight          calls that overlap, on two worker processes: the time per call
//   process/respawn            a call that kills its worker, and the next one, which needs a new one
//   process/first_call         a pool, its fork server, a worker, and one call
//   process/vector/MiB         a vector of that size there and back, by memory files
//   process/shared/MiB         a SharedBuffer of that size there and back: the same memory
//   process/vector_work/MiB    made and filled here, another one of the same size made of it there, and
//   process/shared_work/MiB    that one read here
// `faults`: the page faults of this process, a call. What is copied here is faulted in here.
#include <weft/process.hpp>
#include <weft/shared_buffer.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <numeric>
#include <span>
#include <vector>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "latencies.hpp"

namespace {

using micro::Clock;
using Message = std::array<char, 64>;

Message echo(Message message) {
    ++message[0];
    return message;
}

/// A child that sends back what it gets, until the other end closes.
class EchoChild {
public:
    EchoChild() {
        micro::require(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends_) == 0, "socketpair");
        pid_ = ::fork();
        if (pid_ == 0) {
            ::close(ends_[0]);
            Message message;
            while (::read(ends_[1], message.data(), message.size()) > 0) {
                message = echo(message);
                if (::write(ends_[1], message.data(), message.size()) < 0) break;
            }
            ::_exit(0);
        }
        ::close(ends_[1]);
    }
    ~EchoChild() {
        ::close(ends_[0]);
        ::waitpid(pid_, nullptr, 0);
    }
    EchoChild(const EchoChild&) = delete;
    EchoChild& operator=(const EchoChild&) = delete;

    void round_trip(Message& message) {
        bool done = ::write(ends_[0], message.data(), message.size()) > 0 &&
                    ::read(ends_[0], message.data(), message.size()) > 0;
        micro::require(done, "the echo child is gone");
    }

private:
    int ends_[2];
    pid_t pid_;
};

template <class Call>
void time_calls(benchmark::State& state, Call call) {
    call();
    micro::Latencies latencies(state);
    for (auto _ : state) {
        const Clock::time_point begin = Clock::now();
        call();
        latencies.add(Clock::now() - begin);
    }
}

void socketpair(benchmark::State& state) {
    EchoChild child;
    Message message{};
    time_calls(state, [&] { child.round_trip(message); });
}

void round_trip_of_thread(benchmark::State& state) {
    weft::ProcessPool pool{{.workers = 1}};
    Message message{};
    time_calls(state, [&] { message = pool.run<&echo>(message); });
}

void round_trip_of_task(benchmark::State& state) {
    weft::run([&] { round_trip_of_thread(state); }, {.workers = 1});
}

void in_flight(benchmark::State& state) {
    weft::run(
        [&] {
            constexpr int kCalls = 2000;
            weft::ProcessPool pool{{.workers = 2}};
            micro::time_rounds(state, kCalls, [&] {
                std::atomic<int> left{kCalls};
                weft::task_group([&](weft::TaskGroup& group) {
                    for (std::int64_t i = 0; i < state.range(0); ++i) {
                        group.create_task([&] {
                            while (left.fetch_sub(1) > 0) pool.run<&echo>(Message{});
                        });
                    }
                });
            });
        },
        {.workers = 1});
}

void respawn(benchmark::State& state) {
    weft::ProcessPool pool{{.workers = 1}};
    time_calls(state, [&] {
        try {
            pool.run([] { ::raise(SIGKILL); });
            micro::require(false, "a worker has survived SIGKILL");
        } catch (const weft::WorkerDied&) {
        }
        pool.run([] {});
    });
}

void first_call(benchmark::State& state) {
    time_calls(state, [&] {
        weft::ProcessPool pool{{.workers = 1}};
        pool.run([] {});
    });
}

/// time_calls(), with a counter of the page faults.
template <class Call>
void time_large_calls(benchmark::State& state, Call call) {
    auto faults = [] {
        rusage used{};
        ::getrusage(RUSAGE_SELF, &used);
        return static_cast<double>(used.ru_minflt);
    };
    call();
    const double before = faults();
    time_calls(state, call);
    // The one that time_calls() begins with counts too.
    state.counters["faults"] = (faults() - before) / (static_cast<double>(state.iterations()) + 1);
}

weft::ProcessPoolOptions for_large_messages(std::size_t bytes) {
    return {.workers = 1, .message_bytes_max = bytes + 1024};
}

std::size_t bytes_of(const benchmark::State& state) {
    return static_cast<std::size_t>(state.range(0)) << 20;
}

void vector(benchmark::State& state) {
    weft::ProcessPool pool{for_large_messages(bytes_of(state))};
    std::vector<char> bytes(bytes_of(state), 'x');
    time_large_calls(state, [&] {
        std::vector<char> back = pool.run([](std::vector<char> sent) { return sent; }, bytes);
        micro::require(back.size() == bytes.size(), "not all came back");
    });
}

void shared(benchmark::State& state) {
    weft::ProcessPool pool{{.workers = 1}};
    weft::SharedBuffer bytes(bytes_of(state));
    time_large_calls(state, [&] {
        weft::SharedBuffer back = pool.run([](weft::SharedBuffer sent) { return sent; }, bytes);
        micro::require(back.size() == bytes.size(), "not all came back");
    });
}

using Word = std::uint64_t;

void fill(std::span<Word> words) { std::iota(words.begin(), words.end(), Word{1}); }
void work(std::span<const Word> from, std::span<Word> to) {
    std::ranges::transform(from, to.begin(), [](Word word) { return word * 3; });
}
void read(std::span<const Word> words) {
    const Word sum = std::accumulate(words.begin(), words.end(), Word{0});
    micro::require(sum == words.size() * (words.size() + 1) / 2 * 3, "the sum is wrong");
}

void vector_work(benchmark::State& state) {
    weft::ProcessPool pool{for_large_messages(bytes_of(state))};
    time_large_calls(state, [&] {
        std::vector<Word> words(bytes_of(state) / sizeof(Word));
        fill(words);
        read(pool.run(
            [](const std::vector<Word>& in) {
                std::vector<Word> out(in.size());
                work(in, out);
                return out;
            },
            words));
    });
}

void shared_work(benchmark::State& state) {
    weft::ProcessPool pool{{.workers = 1}};
    time_large_calls(state, [&] {
        weft::SharedBuffer words(bytes_of(state));
        fill(words.writable_as<Word>());
        read(pool.run(
                     [](const weft::SharedBuffer& in) {
                         weft::SharedBuffer out(in.size());
                         work(in.as<Word>(), out.writable_as<Word>());
                         return out;
                     },
                     words)
                 .as<Word>());
    });
}

template <class Benchmark>
void in_microseconds(Benchmark* benchmark) {
    benchmark->UseManualTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK(socketpair)->Name("process/socketpair")->Apply(in_microseconds);
BENCHMARK(round_trip_of_thread)->Name("process/round_trip/thread")->Apply(in_microseconds);
BENCHMARK(round_trip_of_task)->Name("process/round_trip/task")->Apply(in_microseconds);
BENCHMARK(in_flight)
    ->Name("process/in_flight")
    ->UseRealTime()
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMicrosecond)
    ->Arg(2)
    ->Arg(64);
BENCHMARK(respawn)->Name("process/respawn")->Apply(in_microseconds);
BENCHMARK(first_call)->Name("process/first_call")->Apply(in_microseconds);
template <class Benchmark>
void of_large_sizes(Benchmark* benchmark) {
    benchmark->ArgName("MiB")->Apply(in_microseconds<Benchmark>)->Arg(1)->Arg(16)->Arg(64);
}
BENCHMARK(vector)->Name("process/vector")->Apply(of_large_sizes);
BENCHMARK(shared)->Name("process/shared")->Apply(of_large_sizes);
BENCHMARK(vector_work)->Name("process/vector_work")->Apply(of_large_sizes);
BENCHMARK(shared_work)->Name("process/shared_work")->Apply(of_large_sizes);

}  // namespace
