// test_graph.py of CPython 3.14: who waits for whom. weft's graph has tasks and no frames.
#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_graph, CallStackTestBase);

/// "a(b(c) d)": a is awaited by b and d, b by c. By name.
std::string text_of(const CallGraph& graph, std::size_t place = 0) {
    const CallGraph::Node& node = graph.nodes[place];
    std::vector<std::string> awaiters;
    for (std::size_t awaiter : node.awaited_by) awaiters.push_back(text_of(graph, awaiter));
    std::sort(awaiters.begin(), awaiters.end());
    std::string text = node.name;
    for (std::size_t i = 0; i < awaiters.size(); ++i) text += (i == 0 ? "(" : " ") + awaiters[i];
    return awaiters.empty() ? text : text + ")";
}

TEST_P(CallStackTestBase, test_stack_tgroup) {
    run([] {
        current_task().set_name("main");
        std::string seen;
        Event both_wait;
        task_group([&](TaskGroup& tg) {
            Task<void> root = tg.create_task(
                [&] {
                    both_wait.wait();
                    seen = text_of(capture_call_graph());
                },
                {.name = "c2_root"});
            tg.create_task([=] { await(root); }, {.name = "sub_main_1"});
            tg.create_task([=] { await(root); }, {.name = "sub_main_2"});
            settle();
            both_wait.set();
        });
        EXPECT_EQ(seen, "c2_root(main sub_main_1(main) sub_main_2(main))");
    });
}

TEST_P(CallStackTestBase, test_stack_gather) {
    run([] {
        current_task().set_name("main");
        std::string seen;
        gather(
            [&] {
                current_task().set_name("c1");
                weft::sleep(1s);
                seen = text_of(capture_call_graph());
            },
            [] { weft::sleep(1s); });
        EXPECT_EQ(seen, "c1(main)");
    });
}

TEST_P(CallStackTestBase, test_stack_shield) {
    run([] {
        current_task().set_name("main");
        std::string seen;
        shield([&] {
            current_task().set_name("c1");
            weft::sleep(1s);
            seen = text_of(capture_call_graph());
        });
        EXPECT_EQ(seen, "c1(main)");
    });
}

TEST_P(CallStackTestBase, test_stack_timeout) {
    run([] {
        current_task().set_name("main");
        std::string seen;
        auto inner = create_task(
            [&] {
                timeout(10s, [&] {
                    weft::sleep(1s);
                    seen = text_of(capture_call_graph());
                });
            },
            {.name = "c1"});
        timeout(20s, [&] { await(inner); });
        EXPECT_EQ(seen, "c1(main)");
    });
}

TEST_P(CallStackTestBase, test_stack_wait) {
    run([] {
        current_task().set_name("main");
        std::string seen;
        std::vector<Task<void>> tasks{create_task(
                                          [&] {
                                              weft::sleep(1s);
                                              seen = text_of(capture_call_graph());
                                          },
                                          {.name = "c1"}),
                                      create_task([] { weft::sleep(2s); })};
        while (!weft::wait(tasks, FIRST_COMPLETED).pending.empty()) weft::sleep(1s);
        EXPECT_EQ(seen, "c1(main)");
    });
}

TEST_P(CallStackTestBase, test_stack_task) {
    run([] {
        current_task().set_name("main");
        std::string seen;
        await(create_task(
            [&] {
                weft::sleep(1s);
                seen = text_of(capture_call_graph());
            },
            {.name = "there there"}));
        EXPECT_EQ(seen, "there there(main)");
    });
}

TEST_P(CallStackTestBase, test_stack_future) {
    run([] {
        current_task().set_name("main");
        Future<int> future;
        task_group([&](TaskGroup& tg) {
            tg.create_task([=] { await(future); }, {.name = "task A"});
            tg.create_task([=] { await(future); }, {.name = "task B"});
            settle();
            CallGraph graph = capture_call_graph(future);
            EXPECT_FALSE(graph.nodes[0].task);
            EXPECT_EQ(text_of(graph), "future(task A(main) task B(main))");
            future.set_result(1);
        });
        EXPECT_TRUE(capture_call_graph(future).nodes[0].awaited_by.empty());
    });
}

}  // namespace

}  // namespace weft::test
