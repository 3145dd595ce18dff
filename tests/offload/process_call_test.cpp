// Calls to another process: values, exceptions, and what a worker has and has not of the program.
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <algorithm>
#include <any>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "offload/process_support.hpp"
#include "process/code_address.hpp"

namespace {

using weft::ProcessPool;
using weft::to_process;

// Made by static constructors, at run time, in each process: volatile keeps the compiler from
// making them itself.
volatile int two = 2;
const std::string made_before_main = "made " + std::to_string(two + two);
const std::map<int, std::string> table_made_before_main = {{two, "two"}, {two * 2, "four"}};
int changed_in_main = 0;

int twice(int x) { return 2 * x; }
int sum(const std::vector<int>& numbers) {
    return std::accumulate(numbers.begin(), numbers.end(), 0);
}
struct Counter {
    int value = 0;
    int plus(int more) const { return value + more; }
};

TEST(ProcessCall, ReturnsTheValueOfALambdaAFunctionAnObjectAndAMember) {
    EXPECT_EQ(to_process([](int x, int y) { return x * y; }, 6, 7), 42);
    EXPECT_EQ(to_process<&twice>(21), 42);
    EXPECT_EQ(to_process(std::plus<int>{}, 40, 2), 42);
    EXPECT_EQ((to_process<&Counter::plus>(Counter{40}, 2)), 42);
}

TEST(ProcessCall, RunsInAnotherProcess) {
    ProcessPool pool{{.workers = 1}};
    pid_t worker = pool.run([] { return ::getpid(); });
    EXPECT_NE(worker, ::getpid());
    EXPECT_EQ(pool.run([] { return ::getpid(); }), worker) << "a warm worker is used again";
}

TEST(ProcessCall, ReturnsNothingFromAFunctionThatReturnsNothing) {
    static_assert(std::is_void_v<decltype(to_process([] {}))>);
    to_process([](std::string text) { text.clear(); }, std::string("ignored"));
}

TEST(ProcessCall, MovesWhatCanOnlyBeMoved) {
    auto there_and_back = to_process(
        [](std::unique_ptr<std::string> text) {
            *text += " and back";
            return text;
        },
        std::make_unique<std::string>("there"));
    EXPECT_EQ(*there_and_back, "there and back");
}

TEST(ProcessCall, LeavesTheCallersArgumentsAsTheyAre) {
    std::vector<int> numbers = {1, 2, 3};
    EXPECT_EQ(to_process<&sum>(numbers), 6);
    EXPECT_EQ(to_process(
                  [](std::vector<int> copy) {
                      copy.clear();
                      return copy.size();
                  },
                  numbers),
              0U);
    EXPECT_EQ(numbers.size(), 3U);
}

TEST(ProcessCall, CarriesValuesOfEverySizeBothWays) {
    for (std::size_t size : {0, 1, 100'000, 131'072, 131'073, 5'000'000}) {
        std::vector<std::uint8_t> sent(size);
        std::iota(sent.begin(), sent.end(), std::uint8_t{});
        auto got = to_process(
            [](std::vector<std::uint8_t> bytes) {
                for (std::uint8_t& byte : bytes) ++byte;
                return bytes;
            },
            sent);
        for (std::uint8_t& byte : sent) ++byte;
        EXPECT_TRUE(got == sent) << size;
    }
}

TEST(ProcessCall, RefusesArgumentsAndResultsBeyondTheLimit) {
    ProcessPool pool{{.workers = 1, .message_bytes_max = 100'000}};
    auto echo = [](std::string text) { return text; };
    EXPECT_EQ(pool.run(echo, std::string(99'000, 'x')).size(), 99'000U);
    EXPECT_THROW(pool.run(echo, std::string(101'000, 'x')), weft::ArchiveError);
    auto inflate = [](std::size_t size) { return std::string(size, 'x'); };
    EXPECT_EQ(pool.run(inflate, std::size_t{99'000}).size(), 99'000U);
    EXPECT_THROW(pool.run(inflate, std::size_t{101'000}), weft::ArchiveError);
    EXPECT_EQ(pool.figures().died, 0U);
}

/// As a thread does that waits for a line of input.
void leave_a_thread_that_holds_a_stream() {
    FILE* input = ::fdopen(::dup(STDIN_FILENO), "r");
    std::promise<void> held;
    std::thread([input, &held] {
        ::flockfile(input);
        held.set_value();
        weft::test::hang();
    }).detach();
    held.get_future().wait();
}

TEST(ProcessCall, AnswersThoughAThreadThatItHasLeftHoldsAStream) {
    ProcessPool pool{{.workers = 1}};
    weft::run([&] {
        weft::timeout(std::chrono::seconds(20),
                      [&] { pool.run<&leave_a_thread_that_holds_a_stream>(); });
    });
}

TEST(ProcessCall, BringsExceptionsBackAsTheirStdType) {
    try {
        to_process([](std::string text) { throw std::invalid_argument(text); },
                   std::string("what was said"));
        FAIL();
    } catch (const std::invalid_argument& error) {
        EXPECT_STREQ(error.what(), "what was said");
    }
    EXPECT_THROW(to_process([] { throw std::bad_alloc(); }), std::bad_alloc);
    EXPECT_THROW(to_process([] { return std::vector<int>().at(1); }), std::out_of_range);
    EXPECT_THROW(to_process([] { return std::optional<int>().value(); }), std::bad_optional_access);
    EXPECT_THROW(to_process([] { return std::any_cast<int>(std::any()); }), std::bad_any_cast);
    try {
        to_process([] {
            std::future<int> left = std::promise<int>().get_future();
            return left.get();
        });
        FAIL();
    } catch (const std::future_error& error) {
        EXPECT_EQ(error.code(), std::future_errc::broken_promise);
    }
}

TEST(ProcessCall, BringsErrorCodesAndPathsBack) {
    try {
        to_process([] { throw std::system_error(ENOENT, std::generic_category(), "looking"); });
        FAIL();
    } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
        EXPECT_STREQ(error.what(), "looking: No such file or directory");
    }
    std::string expected;
    try {
        static_cast<void>(std::filesystem::file_size("/there/is/no/such/file"));
    } catch (const std::filesystem::filesystem_error& error) {
        expected = error.what();
    }
    try {
        to_process([] { return std::filesystem::file_size("/there/is/no/such/file"); });
        FAIL();
    } catch (const std::filesystem::filesystem_error& error) {
        EXPECT_EQ(error.path1(), "/there/is/no/such/file");
        EXPECT_EQ(error.what(), expected);
    }
}

TEST(ProcessCall, BringsNestedExceptionsBackInTheirOrder) {
    try {
        to_process([] {
            try {
                throw std::length_error("inner");
            } catch (...) {
                std::throw_with_nested(std::runtime_error("outer"));
            }
        });
        FAIL();
    } catch (const std::runtime_error& outer) {
        EXPECT_STREQ(outer.what(), "outer");
        try {
            std::rethrow_if_nested(outer);
            FAIL() << "nothing is nested";
        } catch (const std::length_error& inner) {
            EXPECT_STREQ(inner.what(), "inner");
        }
    }
}

struct OwnError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

TEST(ProcessCall, NamesTheTypeOfAnExceptionThatIsNotOfStd) {
    try {
        to_process([] { throw OwnError("of its own"); });
        FAIL();
    } catch (const weft::RemoteError& error) {
        EXPECT_NE(error.type_name().find("OwnError"), std::string::npos) << error.type_name();
        EXPECT_EQ(error.message(), "of its own");
    }
    try {
        to_process([] { throw 42; });
        FAIL();
    } catch (const weft::RemoteError& error) {
        EXPECT_EQ(error.type_name(), "int");
        EXPECT_EQ(error.message(), "");
    }
    try {
        to_process([] { throw weft::CancelledError("there"); });
        FAIL();
    } catch (const weft::RemoteError& error) {
        EXPECT_EQ(error.type_name(), "weft::CancelledError");
    }
}

TEST(ProcessCall, CutsAnExceptionsTextRatherThanLosingIt) {
    try {
        to_process([] { throw std::runtime_error(std::string(10'000'000, 'x')); });
        FAIL();
    } catch (const std::runtime_error& error) {
        EXPECT_GT(std::string(error.what()).size(), 10'000U);
    }
}

TEST(ProcessCall, SeesWhatStaticConstructorsMadeAndNotWhatMainDid) {
    changed_in_main = 1;
    EXPECT_EQ(to_process([] { return made_before_main; }), "made 4");
    EXPECT_EQ(to_process([] { return table_made_before_main.at(4); }), "four");
    EXPECT_EQ(to_process([] { return changed_in_main; }), 0);
}

TEST(ProcessCall, ManyThreadsGetEachItsOwnAnswer) {
    ProcessPool pool{{.workers = 3}};
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int number = 0; number < 8; ++number) {
        threads.emplace_back([&pool, &wrong, number] {
            for (int round = 0; round < 50; ++round) {
                int sent = number * 1000 + round;
                if (pool.run([](int x) { return x; }, sent) != sent) ++wrong;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
    weft::ProcessPoolFigures figures = pool.figures();
    EXPECT_EQ(figures.calls, 400U);
    EXPECT_LE(figures.started, 3U);
    EXPECT_EQ(figures.queued, 0U);
}

TEST(ProcessCall, WorksInsideAWorkerToo) {
    int inner = to_process([] { return to_process([] { return ::getppid() != 1 ? 42 : 0; }); });
    EXPECT_EQ(inner, 42);
}

std::string link_of(int fd) {
    char link[256];
    std::string path = "/proc/self/fd/" + std::to_string(fd);
    ssize_t size = ::readlink(path.c_str(), link, sizeof link);
    return std::string(link, size > 0 ? static_cast<std::size_t>(size) : 0);
}

std::vector<std::string> open_files() {
    std::vector<std::string> links;
    for (int fd = 0; fd < 256; ++fd) {
        if (std::string link = link_of(fd); !link.empty()) links.push_back(link);
    }
    return links;
}

TEST(ProcessWorker, HasNoDescriptorOfTheProgram) {
    int inheritable[2];
    ASSERT_EQ(::pipe(inheritable), 0);
    int high = ::fcntl(inheritable[1], F_DUPFD, 200);
    {
        ProcessPool pool{{.workers = 2}};
        std::vector<std::string> first = pool.run<&open_files>();
        std::vector<std::string> other;
        // Of two workers at the same time, neither has the other's socket.
        std::thread busy([&] { other = pool.run<&open_files>(); });
        std::vector<std::string> second = pool.run<&open_files>();
        busy.join();
        for (const auto& theirs : {first, second, other}) {
            EXPECT_EQ(theirs.at(0), "/dev/null");
            EXPECT_EQ(std::ranges::count(theirs, link_of(high)), 0);
            auto sockets = std::ranges::count_if(
                theirs, [](const std::string& link) { return link.starts_with("socket:"); });
            // Where the test's own standard output is a socket, it is the worker's as well.
            auto standard = link_of(1).starts_with("socket:") + link_of(2).starts_with("socket:");
            EXPECT_EQ(sockets, 1 + standard) << testing::PrintToString(theirs);
        }
    }
    ::close(inheritable[0]);
    ::close(inheritable[1]);
    ::close(high);
}

TEST(ProcessWorker, HasDefaultSignalsNoCoreFilesAndNoNewPrivileges) {
    using Facts = std::array<int, 5>;
    Facts facts = to_process([] {
        auto handler_of = [](int number) {
            struct sigaction action{};
            ::sigaction(number, nullptr, &action);
            return action.sa_handler;
        };
        sigset_t blocked;
        ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
        rlimit core{};
        ::getrlimit(RLIMIT_CORE, &core);
        return Facts{handler_of(SIGINT) == SIG_IGN,
                     handler_of(SIGTERM) == SIG_DFL && handler_of(SIGPIPE) == SIG_DFL,
                     sigismember(&blocked, SIGCHLD) == 0, core.rlim_max == 0,
                     ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1};
    });
    EXPECT_EQ(facts, (Facts{1, 1, 1, 1, 1}));
}

TEST(ProcessPool, RefusesMoreWorkersThanMakeSense) {
    EXPECT_THROW((ProcessPool{{.workers = 100'000}}), std::invalid_argument);
}

TEST(ProcessPool, WithoutACallStartsNothing) {
    ProcessPool pool{{.workers = 4}};
    EXPECT_EQ(pool.figures().started, 0U);
}

TEST(ProcessPool, OnceShutDownRefusesCalls) {
    ProcessPool pool{{.workers = 1}};
    EXPECT_EQ(pool.run([] { return 1; }), 1);
    pool.shutdown();
    pool.shutdown();
    EXPECT_THROW(pool.run([] { return 1; }), weft::Error);
}

TEST(ProcessPool, FailsWhatRunsAndWhatWaitsWhenItIsShutDown) {
    weft::test::Messenger messenger;
    ProcessPool pool{{.workers = 1}};
    std::atomic<int> failed{0};
    auto call = [&] {
        try {
            pool.run(
                [](std::string path) {
                    weft::test::Messenger::tell(path, ::getpid());
                    weft::test::hang();
                },
                messenger.path());
        } catch (const weft::Error&) {
            ++failed;
        }
    };
    std::thread running(call);
    weft::test::Watched worker(messenger.hear());
    std::thread waiting(call);
    while (pool.figures().queued == 0) std::this_thread::yield();
    pool.shutdown(weft::Shutdown::kill);
    running.join();
    waiting.join();
    EXPECT_EQ(failed, 2);
    EXPECT_FALSE(worker.lives());
}

int something_that_is_no_code = 0;

weft::detail::ProcessEnding ending_of_call_to(const void* code, std::string& text) {
    std::unique_ptr<weft::rt::process::Pool, void (*)(weft::rt::process::Pool*)> pool(
        weft::detail::make_process_pool({.workers = 1, .length_max = 1 << 20}),
        &weft::detail::destroy_process_pool);
    std::array<std::byte, weft::detail::kProcessCallHeadroom> message{};
    weft::detail::ProcessReply reply =
        weft::detail::run_in_process(*pool, code, message, nullptr, weft::detail::Repeatable::no);
    text = reply.text;
    return reply.ending;
}

TEST(ProcessFunction, InALibraryOpenedAtRunTimeIsAClearError) {
    // A library of glibc's that nothing is linked with.
    void* library = ::dlopen("libBrokenLocale.so.1", RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library, nullptr) << ::dlerror();
    link_map* loaded = nullptr;
    ASSERT_EQ(::dlinfo(library, RTLD_DI_LINKMAP, &loaded), 0);
    std::string text;
    EXPECT_EQ(ending_of_call_to(reinterpret_cast<const void*>(loaded->l_ld), text),
              weft::detail::ProcessEnding::unknown_function);
    EXPECT_NE(text.find("not loaded in the worker"), std::string::npos) << text;
    ::dlclose(library);
}

TEST(ProcessFunction, ThatIsNoCodeIsNeverJumpedTo) {
    std::string text;
    EXPECT_EQ(ending_of_call_to(&something_that_is_no_code, text),
              weft::detail::ProcessEnding::unknown_function);
    EXPECT_NE(text.find("there is no code"), std::string::npos) << text;
}

TEST(ProcessFunction, OutsideOfAnyLoadedObjectIsAClearError) {
    int on_the_stack = 0;
    std::string text;
    EXPECT_EQ(ending_of_call_to(&on_the_stack, text),
              weft::detail::ProcessEnding::unknown_function);
    EXPECT_NE(text.find("no loaded program"), std::string::npos) << text;
}

TEST(ProcessFunction, IsFoundAgainAtItsAddress) {
    weft::rt::process::CodeAddress address;
    std::string error;
    const void* code = reinterpret_cast<const void*>(&twice);
    ASSERT_TRUE(weft::rt::process::locate_code(code, address, error)) << error;
    EXPECT_EQ(weft::rt::process::find_code(address, error), code);
    address.object[5] ^= 1;
    EXPECT_EQ(weft::rt::process::find_code(address, error), nullptr);
}

}  // namespace
