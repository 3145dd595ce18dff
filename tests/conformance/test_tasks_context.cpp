// test_tasks.py, BaseTaskTests: the context variables of a task.
#include "conformance/test_tasks.hpp"

namespace weft::test {

namespace {

ContextVar<std::string> text{"text", "nope"};
ContextVar<int> number{"number", -1};

TEST_P(BaseTaskTests, test_context_1) {
    run([] {
        EXPECT_EQ(text.get(), "nope");
        auto task = create_task([] {
            weft::sleep(10ms);
            EXPECT_EQ(text.get(), "nope") << "as it was when the task was made";
            text.set("of the task");
        });
        text.set("yes");
        EXPECT_EQ(text.get(), "yes");
        await(task);
        EXPECT_EQ(text.get(), "yes");
    });
}

TEST_P(BaseTaskTests, test_context_2) {
    run([] {
        EXPECT_EQ(text.get(), "nope");
        for (int j = 0; j < 2; ++j) {
            std::string outer = "yes " + std::to_string(j);
            Event called;
            Future<void> future;
            future.add_done_callback([&](const Future<void>&) {
                text.set("of the callback");
                called.set();
            });
            text.set(outer);
            create_task([&] { future.set_result(); });
            await(future);
            called.wait();
            EXPECT_EQ(text.get(), outer);
            for (int i = 0; i < 3; ++i) {
                std::string inner = outer + " " + std::to_string(i);
                text.set(inner);
                weft::sleep(1ms);
                EXPECT_EQ(text.get(), inner);
            }
        }
    });
    EXPECT_EQ(text.get(), "nope");
}

TEST_P(BaseTaskTests, test_context_3) {
    run([] {
        auto work = weft::async([](int of_task) {
            for (int i = 0; i < 10; ++i) {
                number.set(of_task + i);
                weft::sleep(std::chrono::milliseconds(1 + (7 * of_task + 11 * i) % 50));
                EXPECT_EQ(number.get(), of_task + i);
            }
        });
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 100; ++i) tasks.push_back(create_task(work(10 * i)));
        gather(tasks);
        EXPECT_EQ(number.get(), -1);
    });
    EXPECT_EQ(number.get(), -1);
}

/// Two tasks that set the variable, one after the other, made by make(context, value): what the context has at the
/// begin, between them, and at the end.
template <class Make>
std::vector<int> values_seen(Make make) {
    Context context = copy_context();
    auto value = [&] { return context.run([] { return number.get(0); }); };
    std::vector<int> seen{value()};
    for (int i = 1; i <= 2; ++i) {
        make(context, i);
        seen.push_back(value());
    }
    EXPECT_EQ(number.get(0), 0) << "not here";
    return seen;
}

void set_later(int value) {
    yield();
    number.set(value);
}

TEST_P(BaseTaskTests, test_context_4) {
    run([] {
        auto seen = values_seen([](const Context& context, int value) {
            await(create_task([=] { set_later(value); }, {.context = &context}));
        });
        EXPECT_EQ(seen, (std::vector{0, 1, 2}));
    });
}

TEST_P(BaseTaskTests, test_context_5) {
    run([] {
        auto later = weft::async(set_later);
        auto seen = values_seen([&](const Context& context, int value) {
            await(create_task(later(value), {.context = &context}));
        });
        EXPECT_EQ(seen, (std::vector{0, 1, 2}));
    });
}

TEST_P(BaseTaskTests, test_context_6) {
    run([] {
        auto seen = values_seen([](const Context& context, int value) {
            task_group([&](TaskGroup& group) {
                group.create_task([=] { set_later(value); }, {.context = &context});
            });
        });
        EXPECT_EQ(seen, (std::vector{0, 1, 2}));
    });
}

// A task does not give its context back, so it is known by what is set in it.
TEST_P(BaseTaskTests, test_get_context) {
    run([] {
        Context context = copy_context();
        Event go_on;
        auto task = create_task(
            [&] {
                number.set(1);
                go_on.wait();
                return number.get();
            },
            {.context = &context});
        settle();
        EXPECT_EQ(context.run([] { return number.get(); }), 1);
        context.run([] { number.set(2); });
        go_on.set();
        EXPECT_EQ(await(task), 2);
    });
}

}  // namespace

}  // namespace weft::test
