// Which of the kernel's two ways of telling what is ready is in use, and that all goes on where one is refused.
#include "poller.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "net_support.hpp"

namespace weft::test {

namespace {

class PollerTest : public WithWatchdog {};

std::string poller_in_use() {
    return weft::run([] { return std::string(current_runtime().poller()); });
}

/// A byte there and back.
bool sockets_work() {
    return weft::run([] {
        Pair pair;
        auto echo = create_task([&] { pair.b.write(pair.b.readexactly(1)); });
        pair.a.write("x");
        return timeout(10s, [&] { return pair.a.readexactly(1) == "x"; });
    });
}

TEST_F(PollerTest, EpollUnlessTheEnvironmentAsks) {
    Environment none("WEFT_POLLER", nullptr);
    EXPECT_EQ(poller_in_use(), "epoll");
    Environment asked("WEFT_POLLER", "io_uring");
    if (rt::make_uring_poller() == nullptr) GTEST_SKIP() << "no io_uring here";
    EXPECT_EQ(poller_in_use(), "io_uring");
    EXPECT_TRUE(sockets_work());
}

TEST_F(PollerTest, AnotherNameIsRefused) {
    Environment wrong("WEFT_POLLER", "kqueue");
    EXPECT_THROW(poller_in_use(), std::invalid_argument);
}

// io_uring drops the requests of a thread that ends.
TEST_F(PollerTest, AStreamIsWatchedThoughTheThreadThatBeganHasEnded) {
    Environment asked("WEFT_POLLER", "io_uring");
    std::optional<Runner> runner;
    std::optional<Pair> pair;
    std::thread([&] {
        runner.emplace(RunOptions{.workers = 1});
        runner->run([&] {
            pair.emplace();
            EXPECT_THROW(timeout(1ms, [&] { pair->a.read(1); }), TimeoutError);
        });
    }).join();
    runner->run([&] {
        auto writer = create_task([&] {
            weft::sleep(10ms);
            pair->b.write("x");
        });
        EXPECT_EQ(timeout(10s, [&] { return pair->a.read(1); }), "x");
        await(writer);
        pair.reset();
    });
    runner.reset();
}

// What is always ready gives no edges: epoll refuses it, and io_uring has nothing more to say after the first word.
TEST_F(PollerTest, WhatCannotBeWaitedForKeepsNobody) {
    for (const char* poller : {"epoll", "io_uring"}) {
        Environment asked("WEFT_POLLER", poller);
        weft::run([&] {
            int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
            int error = errno_of([&] { timeout(10s, [&] { wait_readable(null); }); });
            EXPECT_TRUE(error == 0 || error == EPERM) << error;
            ::close(null);
            int path = ::open("/dev/null", O_PATH | O_CLOEXEC);
            EXPECT_EQ(errno_of([&] { timeout(10s, [&] { wait_readable(path); }); }), EBADF)
                << poller;
            ::close(path);
        });
    }
}

/// As containers do it: from here on this process has no io_uring.
bool forbid_uring() {
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{std::size(rules), rules};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_F(PollerTest, EpollWhereTheKernelRefusesTheOther) {
    auto in_a_container = [] {
        Environment asked("WEFT_POLLER", "io_uring");
        if (!forbid_uring()) std::_Exit(2);
        std::_Exit(poller_in_use() == "epoll" && sockets_work() ? 0 : 1);
    };
    EXPECT_EXIT(in_a_container(), ::testing::ExitedWithCode(0), "");
}

/// Its rings count as locked memory, of which this process may have none from here on. False: not on this kernel.
bool forbid_locked_memory() {
    rlimit none{};
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct capabilities[_LINUX_CAPABILITY_U32S_3]{};
    ::syscall(SYS_capget, &header, capabilities);
    capabilities[0].effective &= ~(1U << CAP_IPC_LOCK);  // whoever has it may lock all the same
    if (::setrlimit(RLIMIT_MEMLOCK, &none) != 0 ||
        ::syscall(SYS_capset, &header, capabilities) != 0)
        return false;
    io_uring_params params{};
    long ring = ::syscall(SYS_io_uring_setup, 64, &params);
    if (ring >= 0) ::close(static_cast<int>(ring));
    return ring < 0 && errno == ENOMEM;
}

TEST_F(PollerTest, EpollWhereItsRingsAreMoreMemoryThanMayBeLocked) {
    constexpr int kNotCounted = 3;
    auto limited = [] {
        Environment asked("WEFT_POLLER", "io_uring");
        if (!forbid_locked_memory()) std::_Exit(kNotCounted);
        std::_Exit(poller_in_use() == "epoll" && sockets_work() ? 0 : 1);
    };
    int code = -1;
    auto is_fine = [&](int status) {
        code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        return code == 0 || code == kNotCounted;
    };
    EXPECT_EXIT(limited(), is_fine, "");
    if (code == kNotCounted) GTEST_SKIP() << "the rings are no locked memory here";
}

}  // namespace

}  // namespace weft::test
