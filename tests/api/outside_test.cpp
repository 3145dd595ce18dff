// Misuse that everybody commits once: waiting where nothing runs. A UsageError that names the call, never a hang.
#include <functional>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

/// Calls everything that needs a task or a runtime; each is a UsageError.
void expect_usage_errors() {
    auto expect = [](const char* name, const std::function<void()>& call) {
        std::string what = what_of<UsageError>(call);
        EXPECT_NE(what.find(name), std::string::npos) << name << " says: " << what;
    };
    auto body = [] { ADD_FAILURE() << "called"; };
    expect("yield", [] { yield(); });
    expect("sleep", [] { weft::sleep(1s); });
    expect("sleep", [] { weft::sleep(0s); });
    expect("sleep_until", [] { weft::sleep_until(now()); });
    expect("timeout", [&] { timeout(1s, body); });
    expect("timeout", [&] { timeout_at(now(), body); });
    expect("timeout", [&] { timeout(no_timeout, body); });
    expect("wait_for", [&] { wait_for(body, 1s); });
    expect("wait_for", [&] { wait_for(body, 0s); });
    expect("wait_for", [&] { wait_for(body, no_timeout); });
    expect("shield", [&] { shield(body); });
    expect("gather", [&] { gather(body, body); });
    expect("gather", [&] { gather(return_exceptions, body); });
    expect("gather", [&] { gather(std::vector{body}); });
    expect("gather", [&] { gather(return_exceptions, std::vector{body}); });
    expect("task_group", [&] { task_group([&](TaskGroup&) { body(); }); });
    expect("create_task", [&] { create_task(body); });
    expect("create_task", [&] { create_task(body, {.eager = true}); });
    expect("all_tasks", [] { all_tasks(); });
    expect("current_runtime", [] { current_runtime(); });
    expect("to_thread", [&] { to_thread(body); });
    expect("to_thread", [&] { to_thread(abandon_on_cancel, body); });
    expect("to_arena", [&] { to_arena(body); });
    Future<int> pending;
    Future<int> done;
    done.set_result(1);
    expect("await", [&] { await(pending); });
    expect("await", [&] { await(done); });
    expect("add_done_callback",
           [&] { done.add_done_callback([&](const Future<int>&) { body(); }); });
    auto coroutine = weft::coroutine(body);
    expect("await", [&] { await(coroutine); });
    EXPECT_TRUE(coroutine) << "it is not consumed";
    expect("create_task", [&] { create_task(std::move(coroutine)); });
    if (coroutine) coroutine.close();
}

TEST(OutsideTest, WhatWaitsIsAUsageErrorOutsideOfRun) { expect_usage_errors(); }

TEST(OutsideTest, WhatWaitsIsAUsageErrorInAPlainThreadBesideARuntime) {
    weft::run([] { std::thread(expect_usage_errors).join(); }, {.workers = 2});
}

TEST(OutsideTest, WhatWaitsIsAUsageErrorInAThreadOfToThread) {
    weft::run([] { to_thread(expect_usage_errors); }, {.workers = 2});
}

TEST(OutsideTest, WhatWaitsIsAUsageErrorAfterRun) {
    weft::run([] { yield(); });
    expect_usage_errors();
}

TEST(OutsideTest, ARefusedCreateTaskLeavesTheCoroutineToTheCaller) {
    auto coroutine = weft::coroutine([] { return 1; });
    EXPECT_THROW(create_task(std::move(coroutine)), UsageError);
    ASSERT_TRUE(coroutine);
    EXPECT_EQ(weft::run(std::move(coroutine)), 1);
}

TEST(OutsideTest, TasksAndFuturesOfAnEndedRunCanStillBeRead) {
    Task<int> task;
    Task<int> cancelled;
    Future<int> future;
    weft::run([&] {
        task = create_task([] { return 5; });
        cancelled = create_task([] {
            wait_for_ever();
            return 1;
        });
        await(task);
        future.set_result(6);
    });
    EXPECT_EQ(task.result(), 5);
    EXPECT_TRUE(cancelled.cancelled());
    EXPECT_FALSE(cancelled.cancel());
    EXPECT_EQ(future.result(), 6);
    EXPECT_EQ(task.get_name().rfind("Task-", 0), 0U);
    EXPECT_THROW(await(task), UsageError);
    EXPECT_EQ(weft::run([&] { return await(task) + await(future); }), 11) << "in another run, too";
}

TEST(OutsideTest, TheClockIsThereEverywhere) {
    TimePoint before = now();
    TimePoint inside = weft::run([] { return now(); });
    EXPECT_LE(before, inside);
    EXPECT_LE(inside, now());
}

}  // namespace

}  // namespace weft::test
