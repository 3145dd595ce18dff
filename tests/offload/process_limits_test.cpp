// What a worker may take, how long it is kept, and what runs in it before its first call.
#include <weft/process.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "offload/process_support.hpp"
#include "process/frame.hpp"
#include "sanitizers.hpp"

namespace {

using weft::ProcessPool;
using weft::WorkerDied;
using weft::test::Messenger;
using weft::test::Runs;
using weft::test::Watched;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

std::string error_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const WorkerDied& died) {
        return std::string("WorkerDied: ") + died.what();
    } catch (const weft::Error& error) {
        return error.what();
    }
    return "it returned";
}

// --- limits -------------------------------------------------------------------------------------

std::size_t take_memory(std::size_t bytes) {
    // Called by its name it is not left out.
    ::operator delete(::operator new(bytes));
    return bytes;
}

TEST(ProcessLimits, OfAddressSpaceGiveTheCallABadAllocAndTheWorkerLives) {
    if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "its own memory falls under the limit";
    ProcessPool pool{{.workers = 1, .limits = {.address_space_bytes = 4 * kGiB}}};
    pid_t worker = pool.run([] { return ::getpid(); });
    EXPECT_THROW(pool.run<&take_memory>(8 * kGiB), std::bad_alloc);
    EXPECT_EQ(pool.run<&take_memory>(64 * kMiB), 64 * kMiB);
    EXPECT_EQ(pool.run([] { return ::getpid(); }), worker);
}

TEST(ProcessLimits, OfAddressSpaceAreABadAllocAlsoWhereNothingIsLeftToSayItIn) {
    if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "its own memory falls under the limit";
    ProcessPool pool{{.workers = 1, .limits = {.address_space_bytes = 4 * kGiB}}};
    EXPECT_THROW(pool.run([] {
        for (std::size_t size = 256 * kMiB; size >= 16; size /= 2) {
            void* volatile taken = nullptr;
            do taken = std::malloc(size);
            while (taken != nullptr);
        }
        throw std::bad_alloc();
    }),
                 std::bad_alloc);
}

TEST(ProcessLimits, OfProcessorTimeKillTheWorkerByTheSignalForThat) {
    ProcessPool pool{{.workers = 1, .limits = {.cpu_seconds = 1}}};
    try {
        pool.run([] {
            for (std::atomic<unsigned> busy{0};; ++busy) {
            }
        });
        ADD_FAILURE() << "it returned";
    } catch (const WorkerDied& died) {
        EXPECT_EQ(died.signal(), SIGXCPU);
        EXPECT_SAYS(std::string(died.what()), "CPU time limit");
    }
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

double processor_seconds() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

TEST(ProcessLimits, OfProcessorTimeAreEachCallsOwn) {
    ProcessPool pool{{.workers = 1, .limits = {.cpu_seconds = 1}}};
    // More than two seconds together, so that each call must have moved the limit; no call above half of one.
    for (int round = 0; round < 5; ++round) {
        EXPECT_NO_THROW(pool.run([] {
            for (double begin = processor_seconds(); processor_seconds() < begin + 0.45;) {
            }
        }));
    }
    EXPECT_EQ(pool.figures().died, 0U);
}

TEST(ProcessLimits, OfOpenFilesLeaveTheWorkerNoMoreOfThem) {
    ProcessPool pool{{.workers = 1, .limits = {.open_files = 32}}};
    int opened = pool.run([] {
        int count = 0;
        while (::open("/dev/null", O_RDONLY) >= 0) ++count;
        return count;
    });
    EXPECT_GT(opened, 20);
    EXPECT_LT(opened, 32);
}

TEST(ProcessLimits, OfCallsReplaceTheWorkerAfterThatMany) {
    ProcessPool pool{{.workers = 1, .limits = {.calls = 3}}};
    std::vector<pid_t> pids;
    for (int i = 0; i < 9; ++i) pids.push_back(pool.run([] { return ::getpid(); }));
    for (int i = 0; i < 9; ++i) {
        EXPECT_EQ(pids[i], pids[i / 3 * 3]);
        if (i >= 3) {
            EXPECT_NE(pids[i], pids[i - 3]);
        }
    }
    EXPECT_EQ(pool.figures().recycled, 3U);
}

TEST(ProcessLimits, OfCallsLoseNoCallOfMany) {
    ProcessPool pool{{.workers = 3, .limits = {.calls = 2}}};
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int number = 0; number < 8; ++number) {
        threads.emplace_back([&, number] {
            for (int i = 0; i < 25; ++i) {
                if (pool.run([](int x) { return x; }, number * 100 + i) == number * 100 + i)
                    ++right;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(right, 200);
    // All but those that have had one call of two.
    EXPECT_GE(pool.figures().recycled, 98U);
}

/// Keeps that much memory in use, for ever.
pid_t leak(std::size_t bytes) {
    void* block = std::malloc(bytes);
    std::memset(block, 1, bytes);
    static std::vector<void*> kept;
    kept.push_back(block);
    return ::getpid();
}

TEST(ProcessLimits, OfGrowthReplaceAWorkerThatHasGrownAndNoOther) {
    // What the fork server has is no growth.
    ProcessPool pool{
        {.workers = 1, .limits = {.growth_bytes = 64 * kMiB}, .preload = [] { leak(100 * kMiB); }}};
    pid_t first = pool.run<&leak>(kMiB);
    EXPECT_EQ(pool.run<&leak>(kMiB), first);
    EXPECT_EQ(pool.figures().recycled, 0U);
    EXPECT_EQ(pool.run<&leak>(100 * kMiB), first) << "its own call is answered";
    EXPECT_NE(pool.run<&leak>(kMiB), first);
    EXPECT_EQ(pool.figures().recycled, 1U);
}

TEST(ProcessLimits, ThatAreAsLargeAsCanBeLimitNothing) {
    constexpr std::uint64_t kMost = ~std::uint64_t{0};
    ProcessPool pool{{.workers = 1,
                      .limits = {.address_space_bytes = kMost,
                                 .cpu_seconds = kMost,
                                 .open_files = kMost,
                                 .calls = kMost,
                                 .growth_bytes = kMost}}};
    auto cpu_limit = [] {
        rlimit limit{};
        ::getrlimit(RLIMIT_CPU, &limit);
        return std::uint64_t{limit.rlim_cur};
    };
    pid_t first = pool.run<&leak>(kMiB);
    for (int call = 0; call < 3; ++call) {
        EXPECT_EQ(pool.run<&leak>(kMiB), first);
        EXPECT_GE(pool.run(cpu_limit), std::uint64_t{1} << 33);
    }
    EXPECT_EQ(pool.figures().recycled, 0U);
}

TEST(ProcessLimits, OfAMessageThatIsAsLargeAsCanBeLimitsNothing) {
    ProcessPool pool{{.workers = 1, .message_bytes_max = SIZE_MAX}};
    EXPECT_EQ(pool.run([](std::string text) { return text.size(); }, std::string(kMiB, 'x')), kMiB);
}

/// Root is not bound.
void be_nobody() {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) ::_exit(5);
}

constexpr int kProcesses = 8;

TEST(ProcessLimits, OfProcessesEndAFloodOfForks) {
    ProcessPool pool{{.workers = 1,
                      .limits = {.processes = kProcesses},
                      .initializer = weft::process_function<&be_nobody>}};
    auto [started, error] = pool.run([] {
        int count = 0;
        for (; count < 2 * kProcesses; ++count) {
            pid_t child = ::fork();
            if (child < 0) break;
            if (child == 0) weft::test::hang();
        }
        return std::pair(count, errno);
    });
    EXPECT_LT(started, kProcesses);
    EXPECT_EQ(error, EAGAIN);
}

// --- preload and initializer --------------------------------------------------------------------

int made_by_preload = 0;
int made_by_initializer = 0;
void prepare_server() { made_by_preload = ::getpid(); }
void prepare_worker() { made_by_initializer = made_by_preload + 1; }

TEST(ProcessInitializer, RunsInEachWorkerAfterThePreloadInTheForkServer) {
    ProcessPool pool{{.workers = 1,
                      .limits = {.calls = 1},
                      .preload = weft::process_function<&prepare_server>,
                      .initializer = weft::process_function<&prepare_worker>}};
    for (int worker = 0; worker < 3; ++worker) {
        EXPECT_TRUE(pool.run([] { return made_by_preload == ::getppid(); }));
        EXPECT_TRUE(pool.run([] { return made_by_initializer == ::getppid() + 1; }));
    }
    EXPECT_EQ(made_by_preload, 0) << "not in the program";
}

const char* runs_path() { return std::getenv("WEFT_TEST_RUNS"); }  // NOLINT(concurrency-mt-unsafe)

/// A file that counts runs of functions without arguments, by its name in the environment.
struct NamedRuns : Runs {
    NamedRuns() {
        ::setenv("WEFT_TEST_RUNS", path().c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    }
    ~NamedRuns() { ::unsetenv("WEFT_TEST_RUNS"); }  // NOLINT(concurrency-mt-unsafe)
};

TEST(ProcessInitializer, RunsOnceForEachWorkerAndThePreloadOnceForAll) {
    NamedRuns runs;
    ProcessPool pool{
        {.workers = 1, .limits = {.calls = 1}, .preload = [] { Runs::add(runs_path()); }}};
    for (int i = 0; i < 5; ++i) pool.run([] {});
    EXPECT_EQ(runs.count(), 1);
    ProcessPool other{{.workers = 1, .initializer = [] { Runs::add(runs_path()); }}};
    for (int i = 0; i < 5; ++i) other.run([] {});
    EXPECT_EQ(runs.count(), 2);
}

void fail_to_set_up() {
    Runs::add(runs_path());
    throw std::runtime_error("no database");
}

TEST(ProcessInitializer, ThatThrowsFailsTheCallsWithItsNameAndWhatItThrewAndDoesNotGoOnForEver) {
    NamedRuns runs;
    ProcessPool pool{{.workers = 2, .initializer = weft::process_function<&fail_to_set_up>}};
    std::string other;
    std::thread beside([&] { other = error_of([&] { pool.run([] { return 1; }); }); });
    std::string text = error_of([&] { pool.run([] { return 1; }); });
    beside.join();
    for (const std::string& error : {text, other}) {
        EXPECT_SAYS(error, "the initializer");
        EXPECT_SAYS(error, "fail_to_set_up");
        EXPECT_SAYS(error, "std::runtime_error: no database");
    }
    int tries = runs.count();
    EXPECT_LT(tries, 20);
    while (pool.figures().workers != 0) std::this_thread::yield();
    EXPECT_EQ(pool.figures().queued, 0U);
}

void die_at_once() { ::raise(SIGKILL); }

TEST(ProcessInitializer, ThatDiesFailsTheCallsWithItsNameAndTheSignal) {
    ProcessPool pool{{.workers = 1, .initializer = weft::process_function<&die_at_once>}};
    std::string text = error_of([&] { pool.run([] { return 1; }); });
    EXPECT_SAYS(text, "in the initializer");
    EXPECT_SAYS(text, "die_at_once");
    EXPECT_SAYS(text, "signal 9");
}

const char* messages_path() {
    return std::getenv("WEFT_TEST_MESSAGES");  // NOLINT(concurrency-mt-unsafe)
}

/// A FIFO for functions without arguments, by its name in the environment.
struct NamedMessenger : Messenger {
    NamedMessenger() {
        ::setenv("WEFT_TEST_MESSAGES", path().c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    }
    ~NamedMessenger() { ::unsetenv("WEFT_TEST_MESSAGES"); }  // NOLINT(concurrency-mt-unsafe)
};

TEST(ProcessInitializer, HasTheProcessorTimeOfACallAndNoMore) {
    NamedMessenger messenger;
    ProcessPool pool{{.workers = 1, .limits = {.cpu_seconds = 1}, .initializer = [] {
                          Messenger::tell(messages_path(), ::getpid());
                          for (std::atomic<unsigned> busy{0};; ++busy) {
                          }
                      }}};
    std::string text;
    std::thread beside([&] { text = error_of([&] { pool.run([] { return 1; }); }); });
    Watched worker(messenger.hear());
    EXPECT_TRUE(worker.ends());
    pool.shutdown();
    beside.join();
}

/// What the kernel does when a process takes another user's rights, which this one may not be able
/// to.
void lose_the_death_signal() {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() != 0 || ::setresuid(kNobody, kNobody, kNobody) != 0) {
        ::prctl(PR_SET_PDEATHSIG, 0);
    }
}

TEST(ProcessInitializer, ThatTakesAnotherUsersRightsLeavesAWorkerThatDiesWithItsServer) {
    ProcessPool pool{{.workers = 1, .initializer = weft::process_function<&lose_the_death_signal>}};
    EXPECT_EQ(pool.run([] {
        int number = 0;
        ::prctl(PR_GET_PDEATHSIG, &number);
        return number;
    }),
              SIGKILL);
}

/// A program that stands still while its pool's worker is in its initializer, has no death signal
/// there, and has lost its server.
void be_a_stopped_program() {
    ProcessPool pool{{.workers = 1, .initializer = [] {
                          ::prctl(PR_SET_PDEATHSIG, 0);
                          const pid_t server = ::getppid();  // who hears of it kills it
                          Messenger::tell(messages_path(), ::getpid());
                          Messenger::tell(messages_path(), server);
                          while (::getppid() == server) ::sched_yield();
                      }}};
    Messenger::tell(messages_path(), ::getpid());
    pool.run([] {});
}

TEST(ProcessInitializer, DuringWhichTheServerHasDiedEndsItsWorker) {
    NamedMessenger messenger;
    ProcessPool pool{{.workers = 1}};
    std::thread caller([&] { weft::test::death_of([&] { pool.run<&be_a_stopped_program>(); }); });
    Watched program(messenger.hear());
    Watched worker(messenger.hear());
    Watched server(messenger.hear());
    program.kill(SIGSTOP);
    server.kill(SIGKILL);
    EXPECT_TRUE(worker.ends());
    program.kill(SIGKILL);
    caller.join();
    if (worker.lives()) worker.kill(SIGKILL);
}

// Two that fail one after the other, and never at the same time.
TEST(ProcessInitializer, ThatFailsSlowlyFailsTheCallsAllTheSame) {
    NamedRuns runs;
    ProcessPool pool{{.workers = 2, .initializer = [] {
                          if (Runs::add(runs_path()) == 1) weft::test::hang();
                          throw std::runtime_error("not this one");
                      }}};
    std::string other;
    std::thread beside([&] { other = error_of([&] { pool.run([] { return 1; }); }); });
    EXPECT_SAYS(error_of([&] { pool.run([] { return 1; }); }), "not this one");
    beside.join();
    EXPECT_SAYS(other, "not this one");
}

TEST(ProcessInitializer, ThatWorksLaterLetsLaterCallsRun) {
    NamedRuns runs;
    ProcessPool pool{{.workers = 1, .initializer = [] {
                          if (Runs::add(runs_path()) < 3) throw std::runtime_error("not yet");
                      }}};
    EXPECT_EQ(pool.run([] { return 7; }), 7);
}

TEST(ProcessInitializer, ThatWritesGarbageDoesNotGoOnForEver) {
    ProcessPool pool{{.workers = 1, .initializer = [] {
                          ::write(weft::test::worker_socket(), "garbage", 7) == 7
                              ? weft::test::hang()
                              : std::abort();
                      }}};
    EXPECT_SAYS(error_of([&] { pool.run([] { return 1; }); }), "an answer that is none");
}

TEST(ProcessInitializer, ThatSpeaksInTheWorkersNameIsNotBelieved) {
    namespace process = weft::rt::process;
    ProcessPool pool{{.workers = 1, .initializer = [] {
                          process::OutgoingFrame frame;
                          process::make_frame(process::FrameKind::spawned, 0, {}, frame);
                          process::send_frame(weft::test::worker_socket(), frame,
                                              process::Blocking::yes, STDIN_FILENO);
                      }}};
    EXPECT_SAYS(error_of([&] { pool.run([] { return 1; }); }), "it has been sent before");
}

void find_no_table() { throw std::out_of_range("no table"); }

TEST(ProcessPreload, ThatThrowsFailsTheCallsWithItsNameAndWhatItThrew) {
    ProcessPool pool{{.workers = 1, .preload = weft::process_function<&find_no_table>}};
    std::string text = error_of([&] { pool.run([] { return 1; }); });
    EXPECT_SAYS(text, "the preload");
    EXPECT_SAYS(text, "find_no_table");
    EXPECT_SAYS(text, "std::out_of_range: no table");
}

TEST(ProcessPreload, ThatLeavesAThreadIsWarnedOf) {
    weft::test::Pipe pipe;
    {
        weft::test::StandardError captured(pipe.writing.get());
        ProcessPool pool{
            {.workers = 1, .preload = [] { std::thread(&weft::test::hang).detach(); }}};
        EXPECT_EQ(pool.run([] { return 7; }), 7);
    }
    EXPECT_SAYS(pipe.read_all(), "weft: 1 thread runs beside the fork server's own");
    {
        weft::test::StandardError captured(pipe.writing.get());
        ProcessPool pool{{.workers = 1, .preload = [] { std::thread([] {}).join(); }}};
        EXPECT_EQ(pool.run([] { return 7; }), 7);
    }
    EXPECT_EQ(pipe.read_all(), "");
}

// As daemons do in their set-up. The ends of workers are heard of all the same.
TEST(ProcessPreload, ThatIgnoresSignalsOfChildrenHidesNoDeath) {
    ProcessPool pool{{.workers = 1, .preload = [] { ::signal(SIGCHLD, SIG_IGN); }}};
    try {
        pool.run([] { ::raise(SIGKILL); });
        ADD_FAILURE() << "it returned";
    } catch (const weft::WorkerDied& died) {
        EXPECT_EQ(died.signal(), SIGKILL) << died.what();
    }
    EXPECT_EQ(pool.run([] { return 7; }), 7);
}

TEST(ProcessPreload, ThatDoesNotEndDoesNotHoldUpThePoolsEnd) {
    NamedRuns runs;
    ProcessPool pool{{.workers = 1, .preload = [] {
                          Runs::add(runs_path());
                          weft::test::hang();
                      }}};
    std::string text;
    std::thread beside([&] { text = error_of([&] { pool.run([] { return 1; }); }); });
    while (runs.count() == 0) std::this_thread::yield();
    auto begin = std::chrono::steady_clock::now();
    pool.shutdown(weft::Shutdown::kill);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
    beside.join();
    EXPECT_SAYS(text, "shut down");
}

TEST(ProcessPreload, ThatDiesFailsTheCallsWithItsName) {
    ProcessPool pool{{.workers = 1, .preload = [] { ::_exit(3); }}};
    std::string text = error_of([&] { pool.run([] { return 1; }); });
    EXPECT_SAYS(text, "in the preload");
    EXPECT_SAYS(text, "exit status 3");
}

}  // namespace
