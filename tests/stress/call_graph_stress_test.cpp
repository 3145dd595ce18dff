// Call graphs taken by a thread all the time, while those who wait come, go on, end, and are cancelled: each that is named
// in one is alive and is who it was.
#include <memory>
#include <thread>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

#if WEFT_TSAN || WEFT_ASAN
constexpr int kRounds = 200;
#else
constexpr int kRounds = 2000;
#endif

class CallGraphStressTest : public Everywhere {};
WEFT_TEST_ON_THREADS(CallGraphStressTest);

/// Captures of a future again and again; all its waiters have this name.
class Looker {
public:
    Looker(const Future<void>& first, const char* name)
        : of_(first), thread_([this, name] {
              while (!over_) {
                  std::optional<Future<void>> future;
                  {
                      std::lock_guard guard(mutex_);
                      future = of_;
                  }
                  for (const CallGraph::Node& node : capture_call_graph(*future).nodes) {
                      if (!node.task) continue;
                      ++seen_;
                      if (node.name.rfind(name, 0) != 0) ++strangers_;
                  }
              }
          }) {}
    ~Looker() { end(); }
    Looker(const Looker&) = delete;
    Looker& operator=(const Looker&) = delete;

    void look_at(const Future<void>& future) {
        std::lock_guard guard(mutex_);
        of_ = future;
    }
    void end() {
        over_ = true;
        if (thread_.joinable()) thread_.join();
    }
    int seen() const { return seen_; }
    int strangers() const { return strangers_; }

private:
    std::mutex mutex_;
    Future<void> of_;  // guarded by mutex_
    std::atomic<bool> over_ = false;
    std::atomic<int> seen_ = 0;
    std::atomic<int> strangers_ = 0;
    std::thread thread_;
};

TEST_P(CallGraphStressTest, AThreadLooksWhileAwaitersComeAndGo) {
    run([] {
        current_task().set_name("waiter: main");
        Future<void> future;
        Looker looker(future, "waiter");
        auto await_it = [](Future<void> f) { await(f); };
        for (int round = 0; round < kRounds || looker.seen() == 0; ++round) {
            future = Future<void>();
            looker.look_at(future);
            std::vector<Task<void>> waiters;
            for (int i = 0; i < 4; ++i)
                waiters.push_back(create_task([=] { await_it(future); }, {.name = "waiter"}));
            waiters.push_back(create_task([=] { gather(future, waiters[0]); }, {.name = "waiter"}));
            waiters.push_back(create_task(
                [=] {
                    task_group([&](TaskGroup& group) {
                        group.create_task([=] { await_it(future); }, {.name = "waiter"});
                    });
                },
                {.name = "waiter"}));
            for (int i = 0; i < round % 3; ++i) weft::yield();
            if (round % 2 == 0) waiters[static_cast<std::size_t>(round) % 4].cancel();
            future.try_set_result();
            weft::wait(waiters);
        }
        looker.end();
        EXPECT_EQ(looker.strangers(), 0);
    });
}

// The one that made an as_completed has ended when the next one goes on with it, and its block may be anybody's.
TEST_P(CallGraphStressTest, AThreadLooksWhileAnAsCompletedGoesFromTaskToTask) {
    run([] {
        current_task().set_name("waiter: main");
        Future<void> future;
        Looker looker(future, "waiter");
        for (int round = 0; round < kRounds || looker.seen() == 0; ++round) {
            std::vector<Future<void>> futures(2);
            looker.look_at(futures[1]);
            using Completions = decltype(as_completed(futures));
            std::unique_ptr<Completions> completions;
            await(create_task([&] { completions.reset(new Completions(as_completed(futures))); },
                              {.name = "stranger"}));
            auto stranger = create_task([] { weft::yield(); }, {.name = "stranger"});
            futures[0].set_result();
            await(create_task([&] { completions->next(); }, {.name = "waiter"}));
            auto last = create_task([&] { completions->next(); }, {.name = "waiter"});
            weft::yield();
            futures[1].set_result();
            await(last);
            await(stranger);
        }
        looker.end();
        EXPECT_EQ(looker.strangers(), 0);
    });
}

}  // namespace

}  // namespace weft::test
