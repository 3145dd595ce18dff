// Call graphs beyond CPython's own tests: cycles, text, other threads.
#include <cstdio>
#include <memory>
#include <new>

#include "api/core_support.hpp"
#include "api/failing_new.hpp"

namespace weft::test {

namespace {

class CallGraphTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(CallGraphTest);

class CallGraphOnThreadsTest : public Everywhere {};
WEFT_TEST_ON_THREADS(CallGraphOnThreadsTest);

template <class Handle>
std::string printed(const Handle& handle) {
    char* text = nullptr;
    std::size_t size = 0;
    std::FILE* out = open_memstream(&text, &size);
    print_call_graph(handle, out);
    std::fclose(out);
    std::string result(text, size);
    std::free(text);
    return result;
}

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
        ASSERT_EQ(graph.nodes.size(), 2U);
        EXPECT_EQ(graph.nodes[1].name, "second");
        EXPECT_EQ(graph.nodes[0].awaited_by, std::vector<std::size_t>{1});
        EXPECT_EQ(graph.nodes[1].awaited_by, std::vector<std::size_t>{0});
        EXPECT_EQ(printed(first),
                  "first (waits: await)\n  second (waits: wait)\n"
                  "    first (waits: await): see above, they wait for each other\n");
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
        EXPECT_EQ(printed(sleeper), "sleeper (waits: sleep)\n  awaiter (waits: await)\n");
        awaiter.cancel();
    });
    EXPECT_THROW(capture_call_graph(), UsageError);
}

TEST_P(CallGraphTest, WhoIsMetAgainIsToldOnce) {
    // Each of a layer awaits both of the layer before: a tree of them would have 2^40 leaves.
    run([] {
        auto sleeper = create_task([] { weft::sleep(1h); }, {.name = "sleeper"});
        Task<void> left = sleeper;
        Task<void> right = sleeper;
        constexpr std::size_t kLayers = 40;
        for (std::size_t i = 0; i < kLayers; ++i) {
            auto both = [=] { weft::wait({left, right}); };
            Task<void> next = create_task(both, {.name = "left"});
            right = create_task(both, {.name = "right"});
            left = next;
        }
        settle();
        CallGraph graph = capture_call_graph(sleeper);
        EXPECT_EQ(graph.nodes.size(), 1 + 2 * kLayers);
        std::string text = printed(sleeper);
        EXPECT_EQ(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')),
                  1 + 4 * kLayers - 2);
        sleeper.cancel();
        weft::wait({left, right});
    });
}

TEST_P(CallGraphTest, WhoGoesThroughAnAsCompletedWaitsForItsTasksAndWhoMadeItDoesNot) {
    run([] {
        Event over;
        auto waited_for = create_task([&] { over.wait(); }, {.name = "waited for"});
        std::vector<Task<void>> tasks{waited_for};
        using Tasks = decltype(as_completed(tasks));
        std::unique_ptr<Tasks> completions;
        auto maker = create_task([&] { completions.reset(new Tasks(as_completed(tasks))); });
        await(maker);
        maker = {};
        // Where the maker was, another one may live now.
        auto other = create_task([&] { over.wait(); }, {.name = "other"});
        settle();
        EXPECT_TRUE(capture_call_graph(waited_for).nodes[0].awaited_by.empty());
        auto goes_through = create_task([&] { completions->next(); }, {.name = "goes through"});
        settle();
        EXPECT_EQ(printed(waited_for),
                  "waited for (waits: Event.wait)\n  goes through (waits: as_completed)\n");
        over.set();
        await(goes_through);
        await(other);
    });
}

TEST_P(CallGraphTest, ASmallStackIsEnoughToLookAtALongChain) {
    run([] {
#if WEFT_TSAN
        constexpr std::size_t kLength = 200;  // it is slow with many fibers
#else
        constexpr std::size_t kLength = 1000;
#endif
        auto sleeper = create_task([] { weft::sleep(1h); });
        std::vector<Task<void>> chain{sleeper};
        while (chain.size() < kLength)
            chain.push_back(create_task([last = chain.back()] { await(last); }));
        settle();
        auto looker = create_task([&] { return capture_call_graph(sleeper).nodes.size(); },
                                  {.stack_size = 64 * 1024});
        EXPECT_EQ(await(looker), kLength);
        chain.back().cancel();
        EXPECT_THROW(await(chain.back()), CancelledError);
    });
}

TEST_P(CallGraphTest, WhereMemoryRunsOutNothingIsLost) {
    run([] {
        auto sleeper = create_task([] { weft::sleep(1h); }, {.name = "one with a name of length"});
        std::vector<Task<void>> waiters;
        for (int i = 0; i < 20; ++i) {
            waiters.push_back(create_task([=] { await(sleeper); }));
            waiters.push_back(create_task([last = waiters.back()] { await(last); }));
        }
        settle();
        auto references = [&] {
            std::size_t n = sleeper.core()->word.refs();
            for (const auto& waiter : waiters) n += waiter.core()->word.refs();
            return n;
        };
        std::size_t before = references();
        int failed = 0;
        for (bool whole = false; !whole; ++failed) {
            FailingNew fails_after(failed);
            try {
                whole = capture_call_graph(sleeper).nodes.size() == 1 + waiters.size();
            } catch (const std::bad_alloc&) {
                fails_after.end();
                ASSERT_EQ(references(), before) << "after " << failed << " allocations";
            }
            ASSERT_LT(failed, 10'000);
        }
        EXPECT_GT(failed, 20);
        EXPECT_EQ(references(), before);
        sleeper.cancel();
        for (auto& waiter : waiters) EXPECT_THROW(await(waiter), CancelledError);
    });
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
            seen += capture_call_graph(task).nodes[0].awaited_by.size();
    over = true;
    work.result();
    EXPECT_GT(seen, 0U);
}

}  // namespace

}  // namespace weft::test
