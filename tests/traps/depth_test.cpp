// Many tasks, and long chains of them: neither the stack nor the kernel's map count is the limit.
#include <weft/weft.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sanitizers.hpp"

namespace {

using namespace std::chrono_literals;

// ThreadSanitizer has room for about 8,000 fibers, and is slow with a thousand.
constexpr int scaled(int n) { return WEFT_TSAN ? 150 : WEFT_ASAN ? n / 20 : n; }

struct Shape {
    unsigned workers;
    bool strict;
};

class Depth : public testing::TestWithParam<Shape> {
protected:
    weft::RunOptions options() const {
        return {.workers = GetParam().workers, .strict = GetParam().strict};
    }
};
INSTANTIATE_TEST_SUITE_P(Workers, Depth,
                         testing::Values(Shape{1, true}, Shape{1, false}, Shape{2, false},
                                         Shape{4, false}),
                         [](const auto& p) {
                             return p.param.strict ? std::string("Strict")
                                                   : "W" + std::to_string(p.param.workers);
                         });

TEST_P(Depth, AChainOfAwaitsMayBeLong) {
    const int n = scaled(100'000);
    int value = weft::run(
        [&] {
            std::vector<weft::Task<int>> tasks(static_cast<std::size_t>(n));
            // All wait at the gate, so that nobody awaits a handle that is not there yet.
            weft::Event gate;
            for (int i = 0; i < n; ++i)
                tasks[static_cast<std::size_t>(i)] = weft::create_task([&, i] {
                    gate.wait();
                    return i + 1 == n ? 0 : weft::await(tasks[static_cast<std::size_t>(i) + 1]) + 1;
                });
            gate.set();
            return weft::await(tasks.front());
        },
        options());
    EXPECT_EQ(value, n - 1);
}

TEST_P(Depth, ACallGraphMayBeDeep) {
    const auto n = static_cast<std::size_t>(scaled(100'000));
    weft::run(
        [&] {
            weft::Future<void> end;
            std::vector<weft::Task<void>> chain{weft::create_task([=] { weft::await(end); })};
            while (chain.size() < n) {
                chain.push_back(weft::create_task([last = chain.back()] { weft::await(last); }));
                weft::yield();
            }
            while (weft::capture_call_graph(end).nodes.size() != n + 1) weft::yield();
            char* text = nullptr;
            std::size_t size = 0;
            std::FILE* out = open_memstream(&text, &size);
            weft::print_call_graph(end, out);
            std::fclose(out);
            EXPECT_EQ(static_cast<std::size_t>(std::count(text, text + size, '\n')), n + 1);
            EXPECT_LT(size, n * 200);
            std::free(text);
            end.set_result();
            weft::await(chain.back());
        },
        options());
}

/// Each task waits for the one before; the first one does not mind the first cancel.
template <class Wait>
void cancel_a_long_chain(std::size_t n, Wait wait) {
    weft::Event met;
    std::vector<weft::Task<void>> chain{weft::create_task([&] {
        weft::Event never;
        try {
            never.wait();
        } catch (const weft::CancelledError&) {
            met.set();
        }
        never.wait();
    })};
    std::atomic<std::size_t> begun = 1;
    while (chain.size() < n) {
        chain.push_back(weft::create_task([last = chain.back(), wait, &begun] {
            ++begun;
            wait(last);
        }));
        weft::yield();
    }
    // Cancelled before its first step, the last one would pass nothing on.
    while (begun.load() < n) weft::yield();
    chain.back().cancel();
    met.wait();
    EXPECT_FALSE(chain.back().done());
    chain.back().cancel();
    EXPECT_THROW(weft::await(chain.back()), weft::CancelledError);
    EXPECT_TRUE(chain.front().cancelled());
}

TEST_P(Depth, ACancelGoesDownALongChainOfAwaitsTwice) {
    const auto n = static_cast<std::size_t>(scaled(100'000));
    weft::run(
        [&] { cancel_a_long_chain(n, [](const weft::Task<void>& last) { weft::await(last); }); },
        options());
}

TEST_P(Depth, ACancelGoesDownALongChainOfGathersTwice) {
    const auto n = static_cast<std::size_t>(scaled(100'000));
    weft::run(
        [&] { cancel_a_long_chain(n, [](const weft::Task<void>& last) { weft::gather(last); }); },
        options());
}

TEST_P(Depth, TasksMayNestDeeply) {
    const int n = scaled(100'000);
    std::function<int(int)> nest = [&](int left) -> int {
        if (left == 0) return 0;
        auto child = weft::create_task([&nest, left] { return nest(left - 1); });
        return weft::await(child) + 1;
    };
    EXPECT_EQ(weft::run([&] { return nest(n); }, options()), n);
}

TEST_P(Depth, FiftyThousandSleepersAllWake) {
    const int n = scaled(50'000);
    int awake = weft::run(
        [&] {
            std::vector<weft::Task<int>> tasks;
            auto due = weft::now() + 100ms;
            for (int i = 0; i < n; ++i)
                tasks.push_back(weft::create_task([due] {
                    weft::sleep_until(due);
                    return 1;
                }));
            int sum = 0;
            for (auto& task : tasks) sum += weft::await(task);
            return sum;
        },
        options());
    EXPECT_EQ(awake, n);
    std::ifstream maps("/proc/self/maps");
    int lines = 0;
    for (std::string line; std::getline(maps, line);) ++lines;
    EXPECT_LT(lines, 40'000) << "stacks use up the map count";
}

}  // namespace
