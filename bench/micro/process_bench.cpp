// What does it cost to leave the process?
//
//   process/socketpair         64 bytes to another process and back, with nothing of weft's in between:
//                              what the kernel's two wake-ups cost
//   process/round_trip         the same through to_process, from a task; from a thread
//   process/in_flight          calls that overlap, on two worker processes: the time per call
//   process/respawn            a call that kills its worker, and the next one, which needs a new one
//   process/first_call         a pool, its fork server, a worker, and one call
//   process/vector/MiB         a vector of that size there and back, by memory files
#include <weft/process.hpp>

#include <array>
#include <csignal>

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

void vector(benchmark::State& state) {
    weft::ProcessPool pool{{.workers = 1}};
    std::vector<char> bytes(static_cast<std::size_t>(state.range(0)) << 20, 'x');
    time_calls(state, [&] {
        std::vector<char> back = pool.run([](std::vector<char> sent) { return sent; }, bytes);
        micro::require(back.size() == bytes.size(), "not all came back");
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
BENCHMARK(vector)->Name("process/vector")->ArgName("MiB")->Apply(in_microseconds)->Arg(1)->Arg(16);

}  // namespace
