// What goes along with a call to another process, beside its arguments.
#include <weft/process.hpp>
#include <weft/testing.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "offload/process_support.hpp"

namespace {

using namespace std::chrono_literals;
using weft::ProcessPool;

weft::ProcessContextVar<std::string> request("test.request", "none");
weft::ProcessContextVar<std::vector<int>> numbers("test.numbers");
weft::ContextVar<std::string> stays("test.stays", "default");

ProcessPool& pool() {
    static ProcessPool one{{.workers = 1}};
    return one;
}

TEST(ProcessContext, BringsTheVariablesThatAreSet) {
    weft::run([] {
        request.set("number 7");
        numbers.set({1, 2, 3});
        EXPECT_EQ(pool().run([] { return request.get(); }), "number 7");
        EXPECT_EQ(pool().run([] { return numbers.get(); }), (std::vector<int>{1, 2, 3}));
    });
}

TEST(ProcessContext, IsEachCallsOwn) {
    weft::run([] {
        auto outer = request.set("outer");
        EXPECT_EQ(pool().run([] { return request.get(); }), "outer");
        request.reset(outer);
        EXPECT_EQ(pool().run([] { return request.get(); }), "none");
        EXPECT_THROW(pool().run([] { return numbers.get(); }), std::out_of_range);
    });
}

TEST(ProcessContext, OfAPlainThreadGoesAlongToo) {
    auto before = request.set("a thread's");
    EXPECT_EQ(pool().run([] { return request.get(); }), "a thread's");
    request.reset(before);
}

TEST(ProcessContext, StaysThereWhereItIsSetThere) {
    weft::run([] {
        request.set("mine");
        pool().run([] { request.set("yours"); });
        EXPECT_EQ(request.get(), "mine");
        EXPECT_EQ(pool().run([] { return request.get(); }), "mine");
    });
}

TEST(ProcessContext, HasNoPlainVariables) {
    weft::run([] {
        stays.set("here");
        EXPECT_EQ(pool().run([] { return stays.get(); }), "default");
    });
}

TEST(ProcessContext, NamesAVariableThatTheWorkerHasNot) {
    weft::ProcessContextVar<int> local("test.local");
    weft::run([&] {
        local.set(1);
        try {
            pool().run([] {});
            ADD_FAILURE() << "it returned";
        } catch (const std::exception& error) {
            EXPECT_NE(std::string(error.what()).find("'test.local'"), std::string::npos)
                << error.what();
        }
    });
}

TEST(ProcessContext, RefusesASecondVariableOfOneName) {
    EXPECT_THROW(weft::ProcessContextVar<int>("test.request"), std::invalid_argument);
    weft::ProcessContextVar<int> other("test.other");
}

TEST(ProcessContext, CountsAgainstTheLimitOfAMessage) {
    weft::run([] {
        ProcessPool small{{.workers = 1, .message_bytes_max = 64 * 1024}};
        request.set(std::string(100'000, 'x'));
        EXPECT_THROW(small.run([] {}), weft::ArchiveError);
    });
}

TEST(ProcessContext, HasTheDeadline) {
    weft::run([] {
        auto there = [] {
            auto deadline = weft::current_deadline();
            return deadline ? deadline->time_since_epoch().count() : 0;
        };
        EXPECT_EQ(pool().run(there), 0);
        weft::timeout(1h, [&] {
            EXPECT_EQ(pool().run(there), weft::current_deadline()->time_since_epoch().count());
        });
        EXPECT_EQ(pool().run(there), 0);
    });
}

TEST(ProcessContext, HasTheDeadlineOfASimulationByTheClockOfAll) {
    weft::testing::simulate(1, [] {
        ProcessPool own{{.workers = 1}};
        weft::timeout(1h, [&] {
            auto left = std::chrono::nanoseconds(own.run([] {
                auto rest = *weft::current_deadline() - std::chrono::steady_clock::now();
                return std::chrono::nanoseconds(rest).count();
            }));
            EXPECT_LE(left, 1h);
            EXPECT_GT(left, 59min);
        });
    });
}

TEST(ProcessContext, TakesNoRoomFromTheArguments) {
    constexpr std::size_t kLimit = 64 * 1024;
    ProcessPool small{{.workers = 1, .message_bytes_max = kLimit}};
    std::string largest(kLimit - 8, 'x');  // eight bytes say how long it is
    EXPECT_EQ(small.run([](std::string text) { return text.size(); }, largest), largest.size());
}

TEST(ProcessContext, OfADeadWorkerNamesTheTask) {
    weft::run([] {
        auto task = weft::create_task([] { pool().run([] { ::raise(SIGKILL); }); },
                                      {.name = "the murderer"});
        weft::WorkerDied died = weft::test::death_of([&] { weft::await(task); });
        EXPECT_NE(std::string(died.what()).find("for task 'the murderer'"), std::string::npos)
            << died.what();
    });
}

}  // namespace
