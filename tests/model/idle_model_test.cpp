// Who sleeps and who is woken: whatever is published gets a worker, in every schedule.
//
// The workers here go through the same steps as Worker::next(), search() and sleep() in runtime/next.cpp, on the real
// Idle; queues are counters, since only how much lies in them matters for a lost wake-up. Each step that the proof at
// the head of idle.hpp leans on can be left out, and the explorer must then find a schedule in which work lies
// about while everybody sleeps. A change of the loop in next.cpp is to be made here too.
#include <array>
#include <cstddef>
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include "checks.hpp"
#include "idle.hpp"

namespace weft::model {
namespace {

/// The steps that can be left out; all of them are in the engine.
struct Steps {
    bool looks_again_before_sleep = true;
    bool stops_searching_before_it_looks = true;
    bool last_searcher_notifies = true;
    bool publisher_notifies = true;
    bool counts_the_woken_as_searching = true;
    bool somebody_watches = true;  // see ATaskWokenByOneThatComputesOnIsTakenByAnother
};

constexpr unsigned kMostWorkers = 4;

struct Runtime {
    const unsigned workers;
    const Steps steps;
    rt::Idle<Env> idle;
    std::array<Atomic<int>, kMostWorkers> queue;
    Atomic<int> inject{0};
    std::array<Atomic<bool>, kMostWorkers> token;
    std::array<bool, kMostWorkers> searching{};
    Atomic<bool> driver_taken{false};
    Atomic<bool> watched{
        false};  // the holder of the driver looks up from time to time, though nobody rings
    Atomic<bool> bell{false};
    unsigned asleep = 0;
    int spawns_left = 0;  // so many tasks make another one
    int ran = 0;
    bool first_computes_on =
        false;  // the first task wakes another one, and computes until that has run

    explicit Runtime(unsigned n, const Steps& s = {}) : workers(n), steps(s), idle(n) {}

    static bool take_one(Atomic<int>& from) {
        for (int n = from.load(); n > 0;)
            if (from.compare_exchange_weak(n, n - 1)) return true;
        return false;
    }

    void wake_one() {
        int worker = idle.notify();
        if (worker == rt::Idle<Env>::kNobody) return;
        if (!steps.counts_the_woken_as_searching) idle.found();
        token[static_cast<std::size_t>(worker)].store(true);
    }
    void publish_outside() {
        inject.fetch_add(1);
        if (steps.publisher_notifies) wake_one();
    }
    void push_new(unsigned id) {
        queue[id].fetch_add(1);
        if (steps.publisher_notifies) wake_one();
    }
    void push_woken(unsigned id) {
        bool alone = queue[id].load() == 0;
        queue[id].fetch_add(1);
        if (!alone) wake_one();
    }
    int left() const {
        int n = inject.peek();
        for (const auto& q : queue) n += q.peek();
        return n;
    }
};

class Worker {
public:
    Worker(Runtime& runtime, unsigned id) : r_(runtime), id_(id) {}

    void loop() {
        for (;;) {
            if (take_one() || search()) {
                run();
                continue;
            }
            sleep();
        }
    }

private:
    bool take_one() {
        if (!Runtime::take_one(r_.queue[id_]) && !Runtime::take_one(r_.inject)) return false;
        bool slept = std::exchange(slept_, false);
        if (searching_)
            found_by_search();
        else if (slept && r_.workers > 1 && r_.steps.publisher_notifies)
            r_.wake_one();
        return true;
    }
    void found_by_search() {
        searching_ = false;
        at_once([this] {
            require(r_.idle.searching() - 1 < r_.workers, "a searcher was not counted");
        });
        if (r_.idle.found() && r_.steps.last_searcher_notifies) r_.wake_one();
    }
    bool search() {
        if (r_.workers == 1) return false;
        if (!searching_ && !(searching_ = r_.idle.start_search())) return false;
        unsigned start = any_of(r_.workers);
        for (unsigned i = 0; i < r_.workers; ++i) {
            unsigned victim = (start + i) % r_.workers;
            if (victim == id_ || !Runtime::take_one(r_.queue[victim])) continue;
            // Some more come home at once, and are not announced: one who searches is.
            if (r_.queue[victim].load() > 1 && Runtime::take_one(r_.queue[victim]))
                r_.queue[id_].fetch_add(1);
            found_by_search();
            return true;
        }
        return false;
    }
    void sleep() {
        bool late = searching_ && !r_.steps.stops_searching_before_it_looks;
        r_.idle.announce_sleep(id_, searching_ && !late);
        searching_ = false;
        bool work = r_.steps.looks_again_before_sleep && any_work();
        if (late) r_.idle.found();
        if (work) {
            searching_ = !r_.idle.cancel_sleep(id_);
            if (++fruitless_ > 1) spin();  // somebody else is about to take that work
            return;
        }
        wait_for_token();
        slept_ = true;
        searching_ = !r_.idle.cancel_sleep(id_) && r_.steps.counts_the_woken_as_searching;
    }
    bool any_work() {
        if (r_.inject.load() != 0) return true;
        for (unsigned i = 0; i < r_.workers; ++i)
            if (r_.queue[i].load() != 0) return true;
        return false;
    }
    void wait_for_token() {
        Atomic<bool>& token = r_.token[id_];
        bool holder = !r_.driver_taken.exchange(true);
        bool others_busy = r_.idle.sleeping() < r_.workers;
        if (holder) r_.watched.store(others_busy);
        if (!holder && others_busy && r_.steps.somebody_watches && !r_.watched.load())
            r_.bell.store(true);
        ++r_.asleep;
        if (holder && others_busy)
            spin();  // time passes
        else
            wait_until([&] { return token.peek() || (holder && r_.bell.peek()); });
        --r_.asleep;
        token.store(false);
        if (!holder) return;
        r_.bell.store(false);
        r_.watched.store(false);
        r_.driver_taken.store(false);
    }
    void run() {
        fruitless_ = 0;
        if (r_.ran++ == 0 && r_.first_computes_on) {
            r_.push_woken(id_);
            wait_until([&] { return r_.ran == 2; });
        }
        if (r_.spawns_left > 0) {
            --r_.spawns_left;
            r_.push_new(id_);
        }
    }

    Runtime& r_;
    const unsigned id_;
    bool searching_ = false;
    bool slept_ = false;
    int fruitless_ = 0;
};

Scenario work_for(unsigned workers, int published, int spawned, const Steps& steps = {}) {
    return [=](Execution& execution) {
        auto runtime = std::make_shared<Runtime>(workers, steps);
        runtime->spawns_left = spawned;
        for (unsigned i = 0; i < workers; ++i)
            execution.daemon([runtime, i] { Worker(*runtime, i).loop(); });
        execution.thread([runtime, published] {
            for (int i = 0; i < published; ++i) runtime->publish_outside();
        });
        execution.at_end([runtime, published, spawned] {
            require(runtime->left() == 0, "work lies about while everybody sleeps");
            require(runtime->ran == published + spawned, "a task ran twice, or never");
            require(runtime->idle.searching() == 0,
                    "everybody sleeps and somebody is counted as searching");
            require(runtime->idle.sleeping() == runtime->workers, "a sleeper is not in the set");
        });
    };
}

/// Everybody sleeps; then a task comes whose worker is lost to all others.
Scenario one_computes_on(unsigned workers, const Steps& steps) {
    return [=](Execution& execution) {
        auto runtime = std::make_shared<Runtime>(workers, steps);
        runtime->first_computes_on = true;
        for (unsigned i = 0; i < workers; ++i)
            execution.daemon([runtime, i] { Worker(*runtime, i).loop(); });
        execution.thread([runtime] {
            wait_until([&] { return runtime->asleep == runtime->workers; });
            runtime->publish_outside();
        });
        execution.at_end(
            [runtime] { require(runtime->ran == 2, "a woken task waits for its waker's end"); });
    };
}

TEST(IdleModel, WhatComesFromOutsideIsRunByOneWorker) {
    expect_holds(work_for(1, 3, 2), {.preemptions = 3});
}
TEST(IdleModel, WhatComesFromOutsideIsRunByTwoWorkers) {
    expect_holds(work_for(2, 2, 0), {.preemptions = 3});
}
TEST(IdleModel, WhatTasksMakeIsRunByTwoWorkers) { expect_holds(work_for(2, 2, 2)); }
TEST(IdleModel, WhatTasksMakeIsRunByThreeWorkers) { expect_holds(work_for(3, 2, 3)); }
TEST(IdleModel, WhatTasksMakeIsRunByFourWorkers) { expect_holds(work_for(4, 3, 3)); }

// A task that is woken alone is its waker's next one, and nobody else is told of it (Worker::push_woken). So while
// somebody is busy, somebody else must look up from time to time.
TEST(IdleModel, ATaskWokenByOneThatComputesOnIsTakenByAnother) {
    expect_holds(one_computes_on(2, {}));
    expect_holds(one_computes_on(3, {}));
}
TEST(IdleModel, WhereNobodyWatchesAWokenTaskWaitsForItsWakersEnd) {
    expect_found(one_computes_on(3, {.somebody_watches = false}));
}

TEST(IdleModel, WithoutTheLastLookAWakeUpIsLost) {
    expect_found(work_for(2, 2, 1, {.looks_again_before_sleep = false}));
}
TEST(IdleModel, WhoIsASearcherDuringItsLastLookLosesAWakeUp) {
    expect_found(work_for(2, 2, 1, {.stops_searching_before_it_looks = false}));
}
TEST(IdleModel, WithoutANotifyAWakeUpIsLost) {
    expect_found(work_for(2, 2, 1, {.publisher_notifies = false}));
}
TEST(IdleModel, WhoIsWokenAndNotCountedBreaksTheBooks) {
    expect_found(work_for(2, 2, 1, {.counts_the_woken_as_searching = false}));
}

}  // namespace
}  // namespace weft::model
