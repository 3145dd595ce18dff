// fork() in a process with a running runtime gives a child in which any use of weft says so and aborts, instead of
// waiting for ever for threads that are not there.
#include <weft/weft.hpp>

#include <csignal>
#include <functional>
#include <string>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sanitizers.hpp"

namespace {

using namespace std::chrono_literals;

struct End {
    int status = 0;
    std::string text;
};

/// Forks here. True: this is the child.
bool fork_here(End& end) {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("pipe");
    pid_t child = fork();
    if (child == 0) {
        rlimit none{0, 0};
        setrlimit(RLIMIT_CORE, &none);
        alarm(20);  // a child that hangs is the very failure that is looked for
        dup2(ends[1], STDERR_FILENO);
        return true;
    }
    close(ends[1]);
    char buffer[4096];
    for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
        end.text.append(buffer, static_cast<std::size_t>(n));
    close(ends[0]);
    waitpid(child, &end.status, 0);
    return false;
}

/// Forks in a task, on a worker, and does that in the child.
End forked(const std::function<void()>& in_child) {
    End end;
    weft::run(
        [&] {
            weft::yield();
            if (!fork_here(end)) return;
            in_child();
            _exit(0);
        },
        {.workers = 2});
    return end;
}

class Fork : public testing::Test {
protected:
    void SetUp() override {
        if (WEFT_TSAN)
            GTEST_SKIP() << "ThreadSanitizer does not go on in the child of a process with threads";
    }
    static void expect_aborts(const End& end) {
        EXPECT_TRUE(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT)
            << end.status << end.text;
        EXPECT_NE(end.text.find("in a child that was forked while a runtime was running"),
                  std::string::npos)
            << end.text;
    }
};

TEST_F(Fork, RunInTheChildAborts) {
    expect_aborts(forked([] { weft::run([] {}); }));
}
TEST_F(Fork, WaitingInTheChildAborts) {
    expect_aborts(forked([] { weft::sleep(1ms); }));
}
TEST_F(Fork, StartingATaskInTheChildAborts) {
    expect_aborts(forked([] { weft::create_task([] {}); }));
}
TEST_F(Fork, AwaitingInTheChildAborts) {
    expect_aborts(forked([] {
        weft::Future<int> future;
        weft::await(future);
    }));
}
TEST_F(Fork, APrimitiveThatWouldBlockInTheChildAborts) {
    static weft::Lock lock;
    lock.acquire();
    expect_aborts(forked([] { lock.acquire(); }));
    lock.release();
}
TEST_F(Fork, ReturningFromTheTaskInTheChildAborts) {
    End end;
    weft::run([&] { fork_here(end); }, {.workers = 2});
    expect_aborts(end);
    weft::run([&] { weft::await(weft::create_task([&] { fork_here(end); })); }, {.workers = 2});
    expect_aborts(end);
}
TEST_F(Fork, AChildThatLeavesWeftAloneIsFine) {
    End end = forked([] {});
    EXPECT_TRUE(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0);
    EXPECT_EQ(end.text, "");
    end = forked([] { execl("/bin/true", "true", nullptr); });
    EXPECT_TRUE(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0);
}
TEST_F(Fork, AChildForkedWhileNoRuntimeRunsMayUseWeft) {
    weft::run([] {}, {.workers = 2});
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        _exit(weft::run([] { return weft::await(weft::create_task([] { return 3; })); },
                        {.workers = 2}));
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3) << status;
}

// The threads that look names up outlive the runtimes, and a child has none of them.
TEST_F(Fork, AChildForkedWhileNoRuntimeRunsMayLookUpNames) {
    weft::run([] { weft::getaddrinfo("localhost", 80); });
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        _exit(weft::run([] { return weft::getaddrinfo("localhost", 80).empty() ? 1 : 3; }));
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3) << status;
}

TEST_F(Fork, AChildMayNotUseAThreadPoolOfItsParents) {
    weft::ThreadPool pool;
    weft::run([&] { pool.run([] {}); });
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        _exit(weft::run([&] {
            try {
                pool.run([] {});
            } catch (const weft::UsageError&) {
                return 3;
            }
            return 1;
        }));
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3) << status;
}

}  // namespace
