// Workers that may make some system calls alone.
#include <weft/process.hpp>
#include <weft/shared_buffer.hpp>
#include <weft/weft.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "offload/process_support.hpp"
#include "sanitizers.hpp"

namespace {

using namespace std::chrono_literals;
using weft::ProcessPool;
using weft::SystemCalls;

int open_a_file() { return ::open("/proc/self/stat", O_RDONLY | O_CLOEXEC); }

/// What computing takes. (UBSan asks by a pipe whether an object that is thrown lies in memory.)
SystemCalls computing() {
    return WEFT_ASAN || WEFT_TSAN ? SystemCalls::only({SYS_pipe2}) : SystemCalls::only({});
}

TEST(ProcessConfined, ComputesAndAnswers) {
    ProcessPool pool{{.workers = 1, .system_calls = computing()}};
    auto sum = [](std::vector<long> values) {
        return std::accumulate(values.begin(), values.end(), 0L);
    };
    // Also what travels in memory files, there and back.
    EXPECT_EQ(pool.run(sum, std::vector<long>(1'000'000, 3)), 3'000'000);
    EXPECT_EQ(pool.run([](int n) { return std::string(static_cast<std::size_t>(n), 'x'); }, 1 << 20)
                  .size(),
              std::size_t{1} << 20);
    auto buffer = pool.run([] {
        weft::SharedBuffer made(1 << 16);
        std::ranges::fill(made.writable(), std::byte{7});
        return made;
    });
    EXPECT_EQ(buffer.bytes()[100], std::byte{7});
    EXPECT_THROW(pool.run([] { throw std::range_error("thrown"); }), std::range_error);
    EXPECT_EQ(pool.figures().started, 1U);
}

TEST(ProcessConfined, DiesOfAnyOtherCall) {
    ProcessPool pool{{.workers = 1, .system_calls = SystemCalls::only({})}};
    weft::WorkerDied died = weft::test::death_of([&] { pool.run<&open_a_file>(); });
    EXPECT_EQ(died.signal(), SIGSYS);
    EXPECT_NE(std::string(died.what()).find("open_a_file"), std::string::npos) << died.what();
    EXPECT_EQ(pool.run([] { return 7; }), 7);
}

TEST(ProcessConfined, MayDoWhatIsListed) {
    ProcessPool pool{{.workers = 1, .system_calls = SystemCalls::only({SYS_openat})}};
    EXPECT_GE(pool.run<&open_a_file>(), 0);
}

int opened = -1;
std::atomic<bool> go{false};

TEST(ProcessConfined, HasWhatItsInitializerOpened) {
    ProcessPool pool{{.workers = 1,
                      .initializer = [] { opened = open_a_file(); },
                      .system_calls = SystemCalls::only({})}};
    EXPECT_GT(pool.run([] {
        char text[16];
        return ::read(opened, text, sizeof text);
    }),
              0);
}

TEST(ProcessConfined, IsSoInAllItsThreads) {
    ProcessPool pool{{.workers = 1,
                      .initializer =
                          [] {
                              std::thread([] {
                                  while (!go) std::this_thread::yield();
                                  open_a_file();
                                  ::_exit(3);
                              }).detach();
                          },
                      .system_calls = SystemCalls::only({})}};
    weft::WorkerDied died = weft::test::death_of([&] {
        pool.run([] {
            go = true;
            for (;;) std::this_thread::yield();
        });
    });
    EXPECT_EQ(died.signal(), SIGSYS);
}

/// Whether the call kills its worker by SIGSYS, and that alone.
template <auto Call, class... Args>
bool is_refused(const Args&... args) {
    ProcessPool pool{{.workers = 1, .system_calls = SystemCalls::only({})}};
    try {
        pool.run<Call>(args...);
    } catch (const weft::WorkerDied& died) {
        return died.signal() == SIGSYS;
    }
    return false;
}

void signal_to(pid_t pid) { ::syscall(SYS_tgkill, pid, pid, SIGKILL); }
void limit_of(pid_t pid) {
    rlimit none{0, 0};
    ::prlimit(pid, RLIMIT_FSIZE, &none, nullptr);
}
void owner_of_a_file(pid_t pid) { ::fcntl(weft::test::worker_socket(), F_SETOWN, pid); }
void terminal_of_a_file(pid_t) {
    char byte = 'x';
    if (::ioctl(STDIN_FILENO, TIOCSTI, &byte) == 0 || errno != ENOTTY) ::_exit(3);
    ::raise(SIGSYS);
}

TEST(ProcessConfined, ReachesNoOtherProcess) {
    // This one: it lives, and what it may is as it was.
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    EXPECT_TRUE(is_refused<&signal_to>(::getpid()));
    EXPECT_TRUE(is_refused<&limit_of>(::getpid()));
    EXPECT_TRUE(is_refused<&owner_of_a_file>(::getpid()));
    EXPECT_TRUE(is_refused<&terminal_of_a_file>(::getpid()));
    rlimit after{};
    ::getrlimit(RLIMIT_FSIZE, &after);
    EXPECT_EQ(before.rlim_cur, after.rlim_cur);
}

TEST(ProcessConfined, MayPrintAndTellTheTimeAndSignalItself) {
    ProcessPool pool{{.workers = 1,
                      .initializer =
                          [] {
                              // A character device, as in a daemon: stdio asks whether it is a terminal.
                              int null_device = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
                              ::dup2(null_device, STDOUT_FILENO);
                          },
                      .system_calls = computing()}};
    EXPECT_TRUE(pool.run([] {
        std::printf("said\n");
        std::time_t now = std::time(nullptr);
        std::tm fields{};
        ::localtime_r(&now, &fields);
        std::mutex mutex;
        std::lock_guard guard(mutex);
        return fields.tm_year > 120 && std::cin.get() == EOF;
    }));
    weft::WorkerDied died = weft::test::death_of([&] { pool.run([] { std::abort(); }); });
    EXPECT_EQ(died.signal(), SIGABRT);
}

TEST(ProcessConfined, HasThreadsOfItsInitializerThatAllocate) {
    if (WEFT_ASAN || WEFT_TSAN)
        GTEST_SKIP() << "of the C library's allocator; the tool has its own";
    ProcessPool pool{{.workers = 1,
                      .initializer =
                          [] {
                              std::thread([] {
                                  while (!go) std::this_thread::yield();
                                  std::vector<std::unique_ptr<char[]>> blocks;
                                  for (int i = 0; i < 400; ++i) {
                                      blocks.push_back(std::make_unique<char[]>(100'000));
                                  }
                                  blocks.clear();
                                  go = false;
                              }).detach();
                          },
                      .system_calls = SystemCalls::only({})}};
    pool.run([] {
        go = true;
        while (go) std::this_thread::yield();
    });
}

TEST(ProcessConfined, RunsNothingWhereItCannotBe) {
    // A thread that has a filter of its own keeps the kernel from giving all the same one.
    ProcessPool pool{{.workers = 1,
                      .initializer =
                          [] {
                              std::thread([] {
                                  sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
                                  sock_fprog all{1, &allow};
                                  ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &all);
                                  go = true;
                                  for (;;) ::pause();
                              }).detach();
                              while (!go) std::this_thread::yield();
                          },
                      .system_calls = SystemCalls::only({})}};
    try {
        pool.run([] {});
        ADD_FAILURE() << "it ran";
    } catch (const weft::Error& error) {
        EXPECT_NE(std::string(error.what()).find("cannot be confined"), std::string::npos)
            << error.what();
    }
}

TEST(ProcessConfined, CanBeAskedToGiveUp) {
    ProcessPool pool{{.workers = 1,
                      .escalation = {.ask = 1h},
                      .system_calls = SystemCalls::only({SYS_openat, SYS_pipe2})}};
    weft::test::Messenger messenger;
    weft::run([&] {
        auto call = weft::create_task([&] {
            pool.run(
                [](std::string path) {
                    weft::test::Messenger::tell(path, 1);
                    for (;;) weft::checkpoint();
                },
                messenger.path());
        });
        weft::to_thread([&] { return messenger.hear(); });
        call.cancel();
        EXPECT_THROW(weft::await(call), weft::CancelledError);
        pool.run([] {});
    });
    EXPECT_EQ(pool.figures().kept, 1U);
}

TEST(ProcessConfined, ListsHaveNumbersOfSystemCalls) {
    EXPECT_THROW(SystemCalls::only({-1}), std::invalid_argument);
    EXPECT_THROW(SystemCalls::only({SystemCalls::kNumbersEnd}), std::invalid_argument);
    EXPECT_TRUE(SystemCalls::only({SYS_openat}).contain(SYS_openat));
    EXPECT_FALSE(SystemCalls::only({}).contain(SYS_openat));
    EXPECT_TRUE(SystemCalls().contain(SYS_openat));
}

}  // namespace
