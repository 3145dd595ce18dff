// Workers that may make some system calls alone.
#include <weft/process.hpp>
#include <weft/shared_buffer.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <csignal>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "offload/process_support.hpp"

namespace {

using namespace std::chrono_literals;
using weft::ProcessPool;
using weft::SystemCalls;

int open_a_file() { return ::open("/proc/self/stat", O_RDONLY | O_CLOEXEC); }

TEST(ProcessConfined, ComputesAndAnswers) {
    ProcessPool pool{{.workers = 1, .system_calls = SystemCalls::only({})}};
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
                                  while (opened != -2) std::this_thread::yield();
                                  open_a_file();
                              }).detach();
                          },
                      .system_calls = SystemCalls::only({})}};
    weft::WorkerDied died = weft::test::death_of([&] {
        pool.run([] {
            *const_cast<volatile int*>(&opened) = -2;
            weft::test::hang();
        });
    });
    EXPECT_EQ(died.signal(), SIGSYS);
}

TEST(ProcessConfined, CanBeAskedToGiveUp) {
    ProcessPool pool{
        {.workers = 1, .escalation = {.ask = 1h}, .system_calls = SystemCalls::only({SYS_openat})}};
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
