// An overflowing stack ends the process with one line that names the task, its stack and where it was made.
#include <weft/weft.hpp>

#include <csignal>
#include <cstdio>
#include <regex>
#include <source_location>
#include <string>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sanitizers.hpp"
#include "stack.hpp"

namespace {

using namespace std::chrono_literals;

[[gnu::noinline]] int recurse(int n) {
    volatile char frame[256];
    frame[0] = static_cast<char>(n);
    int below = n < 0 ? 0 : recurse(n + 1);
    return below + frame[0];
}

template <std::size_t kBytes>
[[gnu::noinline]] int large_frame(int n) {
    char frame[kBytes];
    asm volatile("" : : "r"(frame) : "memory");
    frame[0] = static_cast<char>(n);
    asm volatile("" : : "r"(frame) : "memory");
    return frame[0];
}

void touch_nothing_mapped() {
    int* volatile wild = reinterpret_cast<int*>(8);
    *static_cast<volatile int*>(wild) = 1;
}

struct Death {
    int status = 0;
    std::string text;
};

/// What a child process that does this writes to stderr, and how it ends. No runtime may be running here.
template <class F>
Death die_by(F f) {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("pipe");
    pid_t child = fork();
    if (child == 0) {
        rlimit none{0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        f();
        _exit(0);
    }
    close(ends[1]);
    Death death;
    char buffer[4096];
    for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
        death.text.append(buffer, static_cast<std::size_t>(n));
    close(ends[0]);
    waitpid(child, &death.status, 0);
    return death;
}

class Overflow : public testing::Test {
protected:
    void SetUp() override {
        if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "the sanitizer reports overflows itself";
        if (weft::rt::StackPool::instance().guard_kind() == weft::rt::GuardKind::canary)
            GTEST_SKIP() << "no guard pages here";
    }
    /// One line, and no more. The task was made between where begin() was called and where this is.
    void expect_report(const Death& death, const std::string& task, const std::string& stack,
                       std::source_location end = std::source_location::current()) const {
        EXPECT_TRUE(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV) << death.status;
        std::regex expected("weft: fatal: stack overflow in " + task + " \\(stack of " + stack +
                            ", created at [^ ]*overflow_test\\.cpp:([0-9]+)\\)[^\\n]*\\n");
        std::smatch found;
        ASSERT_TRUE(std::regex_match(death.text, found, expected)) << death.text;
        auto line = static_cast<unsigned>(std::stoul(found[found.size() - 1]));
        EXPECT_TRUE(begin_ < line && line < end.line()) << death.text;
    }
    void begin(std::source_location here = std::source_location::current()) {
        begin_ = here.line();
    }

private:
    unsigned begin_ = 0;
};

TEST_F(Overflow, NamesTheTaskItsStackAndWhereItWasMade) {
    // More than once: it must not depend on where the last page lies.
    for (int i = 0; i < 50 && !HasFailure(); ++i) {
        begin();
        Death death = die_by([] {
            auto deep = [] {
                weft::await(weft::create_task([] { recurse(0); }, {.name = "deep"}));
            };
            weft::run(deep, {.workers = 2});
        });
        expect_report(death, "task 'deep'", "[0-9]+ KiB");
    }
}

TEST_F(Overflow, OnAStackOfItsOwnSize) {
    begin();
    Death death = die_by([] {
        weft::run([] {
            weft::TaskOptions options{.name = "small", .stack_size = 64 * 1024};
            weft::await(weft::create_task([] { recurse(0); }, options));
        });
    });
    expect_report(death, "task 'small'", "64 KiB");
}

TEST_F(Overflow, AFrameLargerThanAPageDoesNotJumpOverTheGuard) {
    for (int i = 0; i < 10 && !HasFailure(); ++i) {
        begin();
        Death death = die_by([] {
            weft::run([] {
                weft::TaskOptions options{.name = "large", .stack_size = 64 * 1024};
                weft::await(weft::create_task([] { large_frame<300 * 1024>(1); }, options));
            });
        });
        expect_report(death, "task 'large'", "64 KiB");
    }
}

TEST_F(Overflow, AfterTheTaskWasParkedAndWentOn) {
    begin();
    Death death = die_by([] {
        auto later = [] {
            weft::sleep(1ms);
            recurse(0);
        };
        weft::run([&] { weft::await(weft::create_task(later, {.name = "later"})); },
                  {.workers = 2});
    });
    expect_report(death, "task 'later'", "[0-9]+ KiB");
}

TEST_F(Overflow, OfATaskWithoutAName) {
    begin();
    Death death =
        die_by([] { weft::run([] { weft::await(weft::create_task([] { recurse(0); })); }); });
    expect_report(death, "task 'Task-[0-9]+'", "[0-9]+ KiB");
}

TEST_F(Overflow, OfTheMainTask) {
    begin();
    Death death = die_by([] { weft::run([] { recurse(0); }); });
    expect_report(death, "task '[^']+'", "[0-9]+ KiB");
}

TEST_F(Overflow, AFaultThatIsNoneIsLeftToOthers) {
    Death death = die_by([] { weft::run(touch_nothing_mapped); });
    EXPECT_TRUE(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV);
    EXPECT_EQ(death.text, "");
    death = die_by([] {
        std::signal(SIGSEGV, [](int) { _exit(7); });
        weft::run(touch_nothing_mapped);
    });
    EXPECT_TRUE(WIFEXITED(death.status) && WEXITSTATUS(death.status) == 7)
        << "the program's own handler was not called";
}

}  // namespace
