// What a forked child may do with its parent's executors: destroy them, or go without. It has none of their threads.
#include <weft/executor.hpp>

#include <memory>
#include <semaphore>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/core_support.hpp"
#include "sanitizers.hpp"

namespace weft::test {

namespace {

class ThreadPoolFork : public ::testing::Test {
protected:
    void SetUp() override {
        if (WEFT_TSAN)
            GTEST_SKIP() << "ThreadSanitizer does not go on in the child of a process with threads";
    }
};
class ArenaFork : public ::testing::Test {};

/// The status with which a forked child ends that calls f and has ten seconds for it.
template <class F>
int status_of_child(F&& f) {
    pid_t child = ::fork();
    if (child == 0) {
        ::alarm(10);
        f();
        ::_exit(3);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
}

bool ended_by_itself(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 3; }

/// A runtime in a thread of its own whose one task waits for a call of the executor's; once that has begun.
template <class E>
class BusyElsewhere {
public:
    explicit BusyElsewhere(E& executor)
        : program_([this, &executor] {
              weft::run([&] {
                  executor.run([this] {
                      begun_.release();
                      go_.acquire();
                  });
              });
          }) {
        begun_.acquire();
    }
    ~BusyElsewhere() {
        go_.release();
        program_.join();
    }
    BusyElsewhere(const BusyElsewhere&) = delete;
    BusyElsewhere& operator=(const BusyElsewhere&) = delete;

private:
    std::binary_semaphore begun_{0};
    std::binary_semaphore go_{0};
    std::thread program_;
};

TEST_F(ThreadPoolFork, AChildMayDestroyAPoolWithAnIdleThread) {
    auto pool = std::make_unique<ThreadPool>();
    weft::run([&] { pool->run([] {}); });
    while (pool->figures().idle == 0) std::this_thread::yield();
    int status = status_of_child([&] { pool.reset(); });
    EXPECT_TRUE(ended_by_itself(status)) << status;
}

TEST_F(ThreadPoolFork, AChildMayDestroyAPoolWithABusyThread) {
    auto pool = std::make_unique<ThreadPool>();
    BusyElsewhere busy(*pool);
    int status = status_of_child([&] {
        pool->shutdown(Shutdown::kill);
        pool.reset();
    });
    EXPECT_TRUE(ended_by_itself(status)) << status;
}

TEST_F(ThreadPoolFork, AChildSeesNoFigures) {
    ThreadPool pool;
    weft::run([&] { pool.run([] {}); });
    int status = status_of_child([&] {
        if (pool.figures().threads != 0 || pool.figures().calls != 0) ::_exit(1);
    });
    EXPECT_TRUE(ended_by_itself(status)) << status;
    EXPECT_EQ(pool.figures().calls, 1U);
}

TEST_F(ArenaFork, AChildMayDestroyAnArenaThatHasBeenUsed) {
    auto arena = std::make_unique<Arena>(ArenaOptions{.cores = 2});
    weft::run([&] { arena->run([] {}); });
    int status = status_of_child([&] { arena.reset(); });
    EXPECT_TRUE(ended_by_itself(status)) << status;
}

TEST_F(ArenaFork, AChildMayDestroyAnArenaWithACallUnderWay) {
    auto arena = std::make_unique<Arena>(ArenaOptions{.cores = 2});
    BusyElsewhere busy(*arena);
    int status = status_of_child([&] {
        arena->shutdown(Shutdown::kill);
        arena.reset();
    });
    EXPECT_TRUE(ended_by_itself(status)) << status;
}

TEST_F(ArenaFork, AChildMayNotUseAnArenaOfItsParents) {
    Arena arena({.cores = 2});
    weft::run([&] { arena.run([] {}); });
    int status = status_of_child([&] {
        weft::run([&] {
            try {
                arena.run([] {});
            } catch (const UsageError&) {
                return;
            }
            ::_exit(1);
        });
    });
    EXPECT_TRUE(ended_by_itself(status)) << status;
}

}  // namespace

}  // namespace weft::test
