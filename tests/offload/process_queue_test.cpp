// A pool with a bound: who waits, and who is refused.
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/prctl.h>

#include "offload/process_support.hpp"

namespace {

using weft::ProcessPool;
using weft::test::Messenger;

TEST(ProcessQueue, RefusesTheCallBeyondItsBoundAndNamesThePool) {
    ProcessPool pool{{.workers = 1, .queue_max = 2, .name = "renderers"}};
    Messenger messenger;
    Messenger orders;
    weft::run([&] {
        auto running = weft::create_task([&] {
            pool.run(
                [](std::string path, std::string orders_path) {
                    Messenger::tell(path, 1);
                    Messenger::listen(orders_path);
                },
                messenger.path(), orders.path());
        });
        weft::to_thread([&] { return messenger.hear(); });
        std::vector<weft::Task<int>> waiting;
        for (int i = 0; i < 2; ++i) {
            waiting.push_back(
                weft::create_task([&, i] { return pool.run([](int x) { return x; }, i); }));
        }
        while (pool.figures().queued < 2) weft::yield();
        try {
            pool.run([] {});
            ADD_FAILURE() << "it was taken";
        } catch (const weft::QueueFull& full) {
            EXPECT_NE(std::string(full.what()).find("'renderers'"), std::string::npos)
                << full.what();
        }
        EXPECT_EQ(pool.figures().refused, 1U);
        EXPECT_EQ(pool.figures().running, 1U);
        Messenger::tell(orders.path(), 1);
        weft::await(running);
        EXPECT_EQ(weft::await(waiting[0]) + weft::await(waiting[1]), 1);
        pool.run([] {});
        EXPECT_EQ(pool.figures().calls, 4U);
        EXPECT_EQ(pool.figures().running, 0U);
    });
}

TEST(ProcessQueue, DoesNotCountACallThatAWorkerIsToCome) {
    // Nothing has been started yet: three are taken by the workers to come, one waits.
    ProcessPool pool{{.workers = 3, .queue_max = 1}};
    weft::run(
        [&] {
            std::vector<weft::Task<int>> calls;
            for (int i = 0; i < 4; ++i) {
                calls.push_back(
                    weft::create_task([&, i] { return pool.run([](int x) { return x; }, i); }));
            }
            for (int i = 0; i < 4; ++i)
                EXPECT_EQ(weft::await(calls[static_cast<std::size_t>(i)]), i);
        },
        {.workers = 1});
    EXPECT_EQ(pool.figures().refused, 0U);
}

TEST(ProcessQueue, NamesItsWorkers) {
    ProcessPool pool{{.workers = 1, .name = "a-name-of-twenty-one"}};
    EXPECT_EQ(pool.run([] {
        char name[16] = {};
        ::prctl(PR_GET_NAME, name);
        return std::string(name);
    }),
              "a-name-of-twent");
}

}  // namespace
