// Call graphs beyond CPython's own tests: cycles, text, other threads.
#include <cstdio>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class CallGraphTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(CallGraphTest);

class CallGraphOnThreadsTest : public Everywhere {};
WEFT_TEST_ON_THREADS(CallGraphOnThreadsTest);

TEST_P(CallGraphTest, TasksThatWaitForEachOtherAreToldOnce) {
    run([] {
        Task<void> first;
        Event made;
        auto second = create_task(
            [&] {
                made.wait();
                weft::wait({first});  // does not pass a cancel on, so that one can end this
            },
            {.name = "second"});
        first = create_task([=] { await(second); }, {.name = "first"});
        made.set();
        settle();
        CallGraph graph = capture_call_graph(first);
        ASSERT_EQ(graph.awaited_by.size(), 1U);
        EXPECT_EQ(graph.awaited_by[0].name, "second");
        ASSERT_EQ(graph.awaited_by[0].awaited_by.size(), 1U);
        EXPECT_TRUE(graph.awaited_by[0].awaited_by[0].repeated);
        EXPECT_TRUE(graph.awaited_by[0].awaited_by[0].awaited_by.empty());
        first.cancel();
        EXPECT_THROW(await(second), CancelledError);
        first = {};
    });
}

TEST_P(CallGraphTest, ItIsPrintedALineEach) {
    run([] {
        auto sleeper = create_task([] { weft::sleep(1h); }, {.name = "sleeper"});
        auto awaiter = create_task([=] { await(sleeper); }, {.name = "awaiter"});
        settle();
        char* text = nullptr;
        std::size_t size = 0;
        std::FILE* out = open_memstream(&text, &size);
        print_call_graph(sleeper, out);
        std::fclose(out);
        EXPECT_EQ(std::string(text, size), "sleeper (waits: sleep)\n  awaiter (waits: await)\n");
        std::free(text);
        awaiter.cancel();
    });
    EXPECT_THROW(capture_call_graph(), UsageError);
}

TEST_P(CallGraphOnThreadsTest, AnyThreadMayLookWhileTasksComeAndGo) {
    Runtime runtime(options());
    std::atomic<bool> over = false;
    auto work = runtime.submit([&] {
        while (!over)
            task_group([](TaskGroup& tg) {
                for (int i = 0; i < 4; ++i)
                    tg.create_task([] {
                        auto child = create_task([] { weft::yield(); });
                        gather(child, [] { weft::yield(); });
                    });
            });
    });
    std::size_t seen = 0;
    for (int i = 0; i < 300 || seen == 0; ++i)
        for (const AnyTask& task : runtime.all_tasks())
            seen += capture_call_graph(task).awaited_by.size();
    over = true;
    work.result();
    EXPECT_GT(seen, 0U);
}

}  // namespace

}  // namespace weft::test
