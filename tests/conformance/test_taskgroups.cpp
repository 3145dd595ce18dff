// test_taskgroups.py: what a group runs and gives, its options and its misuse. Its errors and cancels are in
// test_taskgroups_errors.cpp.
#include "conformance/test_taskgroups.hpp"

#include <memory>

namespace weft::test {

INSTANTIATE_TEST_SUITE_P(test_taskgroups, TestTaskGroup, ::testing::ValuesIn(kInVirtualTime),
                         name_of_where);

namespace {

using namespace groups;

WEFT_CONFORMS_IN_ORDER(test_taskgroups, TestTaskGroup);

// --- values -------------------------------------------------------------------------------------------------------

TEST_P(TestTaskGroup, test_taskgroup_01) {
    run([] {
        Task<int> first, second;
        task_group([&](TaskGroup& group) {
            first = group.create_task(value_after(1s, 42));
            second = group.create_task(value_after(2s, 11));
        });
        EXPECT_EQ(first.result(), 42);
        EXPECT_EQ(second.result(), 11);
    });
}

TEST_P(TestTaskGroup, test_taskgroup_02) {
    run([] {
        Task<int> first, second;
        task_group([&](TaskGroup& group) {
            first = group.create_task(value_after(1s, 42));
            weft::sleep(1500ms);
            EXPECT_TRUE(first.done());
            second = group.create_task(value_after(2s, 11));
        });
        EXPECT_EQ(first.result(), 42);
        EXPECT_EQ(second.result(), 11);
    });
}

// A child that is cancelled by hand is no failure.
TEST_P(TestTaskGroup, test_taskgroup_03) {
    run([] {
        Task<int> cancelled, other;
        task_group([&](TaskGroup& group) {
            cancelled = group.create_task(value_after(10s, 42));
            weft::sleep(1s);
            cancelled.cancel();
            other = group.create_task(value_after(2s, 11));
        });
        EXPECT_TRUE(cancelled.cancelled());
        EXPECT_EQ(other.result(), 11);
    });
}

// A group lets go of each child that ends, and does not keep it, or its value, until all have.
TEST_P(TestTaskGroup, test_taskgroup_23) {
    run([] {
        task_group([](TaskGroup& group) {
            std::vector<std::weak_ptr<int>> values;
            for (int i = 0; i < 10; ++i) {
                weft::sleep(1s);
                auto value = std::make_shared<int>(i);
                values.push_back(value);
                group.create_task([value = std::move(value)] {
                    weft::sleep(3s);
                    return value;
                });
                auto dead = [](const std::weak_ptr<int>& v) { return v.expired(); };
                if (i == 5) {
                    EXPECT_GE(std::count_if(values.begin(), values.end(), dead), 2);
                }
            }
            weft::sleep(4s);
            for (const std::weak_ptr<int>& value : values) EXPECT_TRUE(value.expired());
            EXPECT_EQ(all_tasks().size(), 1U);
        });
    });
}

// A child makes siblings after the block has ended.
TEST_P(TestTaskGroup, test_taskgroup_24) {
    run([] {
        std::atomic<int> ended = 0;
        task_group([&](TaskGroup& group) {
            group.create_task([&] {
                weft::sleep(1s);
                for (Duration delay : {1s, 2s})
                    group.create_task([&, delay] {
                        weft::sleep(delay);
                        ++ended;
                    });
            });
        });
        EXPECT_EQ(ended, 2);
    });
}

// Children that go on making more are stopped by the failure of one.
TEST_P(TestTaskGroup, test_taskgroup_25) {
    run([] {
        std::atomic<int> heads = 0;
        struct Hydra {
            TaskGroup& group;
            std::atomic<int>& heads;
            void operator()() const {
                ++heads;
                weft::sleep(10ms);
                group.create_task(Hydra(*this));
                group.create_task(Hydra(*this));
            }
        };
        EXPECT_EQ(group_of([&] {
                      task_group([&](TaskGroup& group) {
                          group.create_task(Hydra{group, heads});
                          group.create_task([&] {
                              while (heads < 10) weft::sleep(15ms);
                              throw std::runtime_error("hercules");
                          });
                      });
                  }),
                  "hercules");
        EXPECT_GE(heads, 10);
    });
}

// --- options ------------------------------------------------------------------------------------------------------

TEST_P(TestTaskGroup, test_taskgroup_task_name) {
    run([] {
        task_group([](TaskGroup& group) {
            auto named = group.create_task([] { yield(); }, {.name = "yolo"});
            EXPECT_EQ(named.get_name(), "yolo");
        });
    });
}

TEST_P(TestTaskGroup, test_taskgroup_task_context) {
    static ContextVar<int> number{"number", 0};
    run([] {
        task_group([](TaskGroup& group) {
            Context context = copy_context();
            auto in_context = [&] { return context.run([] { return number.get(); }); };
            EXPECT_EQ(in_context(), 0);
            for (int value : {1, 2}) {
                auto setter = group.create_task(
                    [value] {
                        yield();
                        number.set(value);
                    },
                    {.context = &context});
                await(setter);
                EXPECT_EQ(in_context(), value);
            }
            EXPECT_EQ(number.get(), 0);
        });
    });
}

// --- misuse -------------------------------------------------------------------------------------------------------

template <class T>
concept IsBlock = requires(T t) { task_group(t); };

// There is no group that has not been entered: task_group() alone makes one, and hands it to its block.
TEST_P(TestTaskGroup, test_taskgroup_not_entered) {
    static_assert(!std::is_default_constructible_v<TaskGroup>);
    run([] {
        Task<int> child;
        task_group([&](TaskGroup& group) { child = group.create_task([] { return 1; }); });
        EXPECT_EQ(child.result(), 1);
    });
}

// Nor is there a way to enter one again: it is no block, and cannot be copied.
TEST_P(TestTaskGroup, test_taskgroup_already_entered) {
    static_assert(!IsBlock<TaskGroup&>);
    static_assert(!std::is_copy_constructible_v<TaskGroup>);
    run([] {
        int entered = 0;
        task_group([&](TaskGroup& outer) {
            ++entered;
            task_group([&](TaskGroup& inner) { EXPECT_NE(&inner, &outer); });
        });
        EXPECT_EQ(entered, 1);
    });
}

TEST_P(TestTaskGroup, test_taskgroup_double_enter) {
    static_assert(!std::is_move_constructible_v<TaskGroup>);
    static_assert(!std::is_move_assignable_v<TaskGroup>);
    run([] {
        int entered = 0;
        // The same block, twice: two groups.
        auto block = [&](TaskGroup& group) {
            ++entered;
            group.create_task([] { yield(); });
        };
        task_group(block);
        task_group(block);
        EXPECT_EQ(entered, 2);
    });
}

TEST_P(TestTaskGroup, test_taskgroup_without_parent_task) {
    bool entered = false;
    std::string what =
        what_of<UsageError>([&] { task_group([&](TaskGroup&) { entered = true; }); });
    EXPECT_NE(what.find("task_group"), std::string::npos) << what;
    EXPECT_EQ(what.find("another error"), std::string::npos) << what;
    EXPECT_FALSE(entered);
}

// A callback that runs between the end of the last child and that of the group finds it finished.
TEST_P(TestTaskGroup_in_order, test_taskgroup_finished) {
    run([] {
        ::testing::internal::CaptureStderr();
        bool ran = false;
        std::string what;
        task_group([&](TaskGroup& group) {
            auto child = group.create_task([] { yield(); });
            child.add_done_callback([&](const Task<void>&) {
                current_runtime().post([&] {
                    what = what_of<UsageError>(
                        [&] { group.create_task(weft::coroutine([&] { ran = true; })); });
                });
            });
        });
        EXPECT_NE(what.find("is finished"), std::string::npos) << what;
        EXPECT_FALSE(ran);
        EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "the coroutine is closed";
    });
}

TEST_P(TestTaskGroup, test_coro_closed_when_tg_closed) {
    run([] {
        ::testing::internal::CaptureStderr();
        bool ran = false;
        task_group([&](TaskGroup& group) {
            group.cancel();
            EXPECT_THROW(group.create_task(weft::coroutine([&] { ran = true; })), UsageError);
        });
        settle();
        EXPECT_FALSE(ran);
        EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "the coroutine is closed";
    });
}

TEST_P(TestTaskGroup, test_taskgroup_no_create_task_after_failure) {
    run([] {
        bool refused = false;
        EXPECT_EQ(group_of([&] {
                      task_group([&](TaskGroup& group) {
                          group.create_task(fail_after(1ms, "first"));
                          group.create_task([&] {
                              try {
                                  weft::sleep(1s);
                              } catch (const CancelledError&) {
                                  EXPECT_THROW(group.create_task(fail_after(1ms, "late")),
                                               UsageError);
                                  refused = true;
                              }
                          });
                      });
                  }),
                  "first");
        EXPECT_TRUE(refused);
    });
}

}  // namespace

}  // namespace weft::test
