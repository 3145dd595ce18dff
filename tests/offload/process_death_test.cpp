// Workers that die, lie or are killed: one call fails, and nothing else notices; and whatever
// happens to the program, no process is left behind.
#include <weft/process.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "offload/process_support.hpp"
#include "process/frame.hpp"

namespace {

using weft::ProcessPool;
using weft::WorkerDied;
using weft::test::death_of;
using weft::test::hang;
using weft::test::Messenger;
using weft::test::Watched;
using weft::test::worker_socket;
namespace process = weft::rt::process;

/// Whatever a sanitizer or a test framework has put there.
void die_of(int number) {
    ::signal(number, SIG_DFL);
    ::raise(number);
    hang();
}

TEST(ProcessDeath, ByASignalFailsTheCallWithThatSignal) {
    ProcessPool pool{{.workers = 1}};
    for (int number : {SIGSEGV, SIGABRT, SIGKILL, SIGTERM}) {
        WorkerDied died = death_of([&] { pool.run<&die_of>(number); });
        EXPECT_EQ(died.signal(), number);
        EXPECT_EQ(died.exit_status(), 0);
        EXPECT_NE(died.function().find("die_of"), std::string::npos) << died.function();
        EXPECT_NE(std::string(died.what()).find("die_of"), std::string::npos) << died.what();
        EXPECT_EQ(pool.run([] { return 1; }), 1) << "the next call has a new worker";
    }
}

TEST(ProcessDeath, OfTheForkServerIsToldByTheCallsThatItTakesAlong) {
    ProcessPool pool{{.workers = 1}};
    WorkerDied died = death_of([&] {
        pool.run([] {
            ::kill(::getppid(), SIGKILL);
            hang();
        });
    });
    EXPECT_NE(std::string(died.what()).find("was killed with its fork server"), std::string::npos)
        << died.what();
}

TEST(ProcessDeath, ByExitFailsTheCallWithThatStatus) {
    ProcessPool pool{{.workers = 1}};
    for (int status : {0, 3}) {
        WorkerDied died = death_of([&] { pool.run([](int s) { ::_exit(s); }, status); });
        EXPECT_EQ(died.signal(), 0);
        EXPECT_EQ(died.exit_status(), status);
    }
}

TEST(ProcessDeath, FailsThatCallAlone) {
    ProcessPool pool{{.workers = 3}};
    std::atomic<int> answered{0};
    std::atomic<int> died{0};
    std::vector<std::thread> threads;
    for (int number = 0; number < 60; ++number) {
        threads.emplace_back([&pool, &answered, &died, number] {
            try {
                int answer = pool.run(
                    [](int n) {
                        if (n % 3 == 0) die_of(SIGKILL);
                        return n;
                    },
                    number);
                if (answer == number) ++answered;
            } catch (const WorkerDied&) {
                ++died;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(answered, 40);
    EXPECT_EQ(died, 20);
}

TEST(ProcessDeath, OfAnIdleWorkerFailsNoCall) {
    ProcessPool pool{{.workers = 1}};
    Watched worker(pool.run([] { return ::getpid(); }));
    worker.kill(SIGKILL);
    ASSERT_TRUE(worker.ends());
    while (pool.figures().died == 0) std::this_thread::yield();
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

/// Returns its pid, and dies as soon as that is in the socket.
pid_t answer_and_die() {
    std::thread([] {
        int unread = 0;
        while (::ioctl(worker_socket(), SIOCOUTQ, &unread) == 0 && unread == 0) {
        }
        ::raise(SIGKILL);
    }).detach();
    return ::getpid();
}

TEST(ProcessDeath, AfterTheAnswerWasSentKeepsTheAnswer) {
    ProcessPool pool{{.workers = 1}};
    for (unsigned round = 1; round <= 20; ++round) {
        pid_t worker = 0;
        ASSERT_NO_THROW(worker = pool.run<&answer_and_die>());
        // It may have missed the moment.
        if (pool.figures().died < round) ::kill(worker, SIGKILL);
        while (pool.figures().died < round) std::this_thread::yield();
    }
}

TEST(ProcessDeath, OfTheForkServerFailsWhatRanAndNothingLater) {
    ProcessPool pool{{.workers = 2}};
    pid_t first_server = pool.run([] { return ::getppid(); });
    Watched server(first_server);
    Messenger messenger;
    WorkerDied died = death_of([&] {
        std::thread killer([&] {
            messenger.hear();
            server.kill(SIGKILL);
        });
        try {
            pool.run(
                [](std::string path) {
                    Messenger::tell(path, ::getpid());
                    hang();
                },
                messenger.path());
        } catch (...) {
            killer.join();
            throw;
        }
        killer.join();
    });
    EXPECT_EQ(died.signal(), SIGKILL);
    EXPECT_NE(pool.run([] { return ::getppid(); }), first_server);
}

// What a worker with a broken memory might write into its socket. Each hangs afterwards, so that
// only the frame can end the call.
void send_raw(std::span<const std::byte> packet, int passed = -1) {
    const iovec part{const_cast<std::byte*>(packet.data()), packet.size()};
    auto beside = std::span(&passed, passed < 0 ? 0U : 1U);
    process::send_packet(worker_socket(), std::span(&part, 1), beside, process::Blocking::yes);
    hang();
}
process::OutgoingFrame valid_answer(std::uint64_t id, std::span<const std::byte> body = {}) {
    process::OutgoingFrame frame;
    process::make_frame(process::FrameKind::value, id, body, frame);
    return frame;
}
void send_garbage() {
    std::array<std::byte, 100> garbage;
    garbage.fill(std::byte{0x5a});
    send_raw(garbage);
}
void send_short_frame() { send_raw(std::array<std::byte, 5>{}); }
void send_empty_packet() { send_raw({}); }
void send_huge_packet() { send_raw(std::vector<std::byte>(150'000)); }
void send_wrong_checksum() {
    process::OutgoingFrame frame = valid_answer(1);
    frame.header.crc ^= 1;
    send_raw(std::as_bytes(std::span(&frame.header, 1)));
}
void send_wrong_id() {
    process::OutgoingFrame frame = valid_answer(~std::uint64_t{0});
    send_raw(std::as_bytes(std::span(&frame.header, 1)));
}
void send_stray_descriptor() {
    process::OutgoingFrame frame = valid_answer(1);
    send_raw(std::as_bytes(std::span(&frame.header, 1)), STDERR_FILENO);
}
void send_unsealed_file() {
    std::vector<std::byte> body(200'000);
    process::OutgoingFrame frame = valid_answer(1, body);
    int memfd = ::memfd_create("unsealed", MFD_ALLOW_SEALING);
    if (::ftruncate(memfd, static_cast<off_t>(body.size())) != 0) std::abort();
    send_raw(std::as_bytes(std::span(&frame.header, 1)), memfd);
}
void close_the_socket() {
    ::close(worker_socket());
    hang();
}

TEST(ProcessGarbage, KillsItsWorkerAndFailsThatCallAlone) {
    ProcessPool pool{{.workers = 1}};
    auto expect_killed = [&](auto&& call) {
        WorkerDied died = death_of(call);
        EXPECT_EQ(died.signal(), SIGKILL) << died.what();
        EXPECT_EQ(pool.run([](int x) { return x; }, 5), 5);
    };
    expect_killed([&] { pool.run<&send_garbage>(); });
    expect_killed([&] { pool.run<&send_short_frame>(); });
    expect_killed([&] { pool.run<&send_empty_packet>(); });
    expect_killed([&] { pool.run<&send_huge_packet>(); });
    expect_killed([&] { pool.run<&send_wrong_checksum>(); });
    expect_killed([&] { pool.run<&send_wrong_id>(); });
    expect_killed([&] { pool.run<&send_stray_descriptor>(); });
    expect_killed([&] { pool.run<&send_unsealed_file>(); });
    expect_killed([&] { pool.run<&close_the_socket>(); });
}

TEST(ProcessGarbage, IsNamedInTheError) {
    ProcessPool pool{{.workers = 1}};
    WorkerDied died = death_of([&] { pool.run<&send_garbage>(); });
    EXPECT_NE(std::string(died.what()).find("first bytes are not a frame's"), std::string::npos)
        << died.what();
}

TEST(ProcessGarbage, FromAnIdleWorkerCostsNobodyAnAnswer) {
    ProcessPool pool{{.workers = 1}};
    Messenger orders;
    // A thread of the worker's goes on after its call has been answered.
    Watched worker(pool.run(
        [](std::string path) {
            std::thread([path] {
                Messenger::listen(path);
                send_garbage();
            }).detach();
            return ::getpid();
        },
        orders.path()));
    Messenger::tell(orders.path(), 1);
    ASSERT_TRUE(worker.ends());
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

TEST(ProcessStart, FailsClearlyWithoutDescriptorsAndWorksAgainWithThem) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    process::Descriptor next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    ProcessPool pool{{.workers = 1}};
    // Two more, which the manager takes; none for sockets.
    rlimit low = before;
    low.rlim_cur = static_cast<rlim_t>(next.get()) + 3;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
    // Looked at only when there are descriptors again: sanitizers want some for looking.
    std::exception_ptr caught;
    try {
        pool.run([] { return 1; });
    } catch (...) {
        caught = std::current_exception();
    }
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    std::string message;
    try {
        if (caught != nullptr) std::rethrow_exception(caught);
    } catch (const std::exception& error) {
        message = error.what();
    }
    EXPECT_NE(message.find("Too many open files"), std::string::npos) << message;
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

TEST(ProcessEnd, OfThePoolLeavesNoProcessAndNoZombie) {
    std::vector<pid_t> pids;
    {
        ProcessPool pool{{.workers = 2}};
        pids.push_back(pool.run([] { return ::getpid(); }));
        pids.push_back(pool.run([] { return ::getppid(); }));
    }
    for (pid_t pid : pids) {
        EXPECT_EQ(::kill(pid, 0), -1) << "process " << pid << " is there, if only as a zombie";
        EXPECT_EQ(errno, ESRCH);
    }
}

TEST(ProcessEnd, OfThePoolLeavesTheDescriptorsAsTheyWere) {
    auto count = [] {
        int open = 0;
        for (int fd = 0; fd < 256; ++fd) open += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
        return open;
    };
    int before = count();
    {
        ProcessPool pool{{.workers = 2}};
        pool.run([](std::string text) { return text; }, std::string(1'000'000, 'x'));
        death_of([&] { pool.run<&die_of>(SIGKILL); });
    }
    EXPECT_EQ(count(), before);
}

// --- what a worker has started ------------------------------------------------------------------

constexpr int kChildrenMax = 32;

/// Starts as many processes as it may, kChildrenMax at most; each tells its pid, and hangs.
int start_children(const std::string& path) {
    const rlimit few{kChildrenMax, kChildrenMax};
    ::setrlimit(RLIMIT_NPROC, &few);  // does not bind who is root
    int started = 0;
    for (; started < kChildrenMax; ++started) {
        pid_t child = ::fork();
        if (child == 0) {
            Messenger::tell(path, ::getpid());
            hang();
        }
        if (child < 0) break;
    }
    return started;
}

std::vector<Watched> hear_of_children(const Messenger& messenger, int count) {
    std::vector<Watched> children;
    while (count-- > 0) children.emplace_back(messenger.hear());
    return children;
}

void expect_all_end(const std::vector<Watched>& processes) {
    bool all = std::ranges::all_of(processes, &Watched::ends);
    EXPECT_TRUE(all);
    for (const Watched& process : processes) {
        if (process.lives()) process.kill(SIGKILL);
    }
}

TEST(ProcessChildren, OfAWorkerThatIsKilledEndWithIt) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    int started = pool.run([](std::string path) { return start_children(path); }, messenger.path());
    if (started == 0) GTEST_SKIP() << "this user may have no more processes";
    std::vector<Watched> children = hear_of_children(messenger, started);
    for (const Watched& child : children) EXPECT_TRUE(child.lives());
    weft::test::death_of([&] { pool.run([] { ::raise(SIGKILL); }); });
    expect_all_end(children);
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

TEST(ProcessChildren, OfAWorkerEndWithThePool) {
    Messenger messenger;
    std::vector<Watched> children;
    {
        ProcessPool pool{{.workers = 1}};
        int started =
            pool.run([](std::string path) { return start_children(path); }, messenger.path());
        children = hear_of_children(messenger, started);
    }
    expect_all_end(children);
}

/// Starts a process that takes a while to end, for what it has to give back.
void start_a_large_child(const std::string& path) {
    if (::fork() != 0) return;
    constexpr std::size_t kBytes = std::size_t{256} << 20;
    constexpr int kMode = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, kMode, -1, 0);
    Messenger::tell(path, ::getpid());
    hang();
}

TEST(ProcessChildren, OfAWorkerAreNotLeftToAProgramThatReapsOrphans) {
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    for (bool worker_ends_first : {false, true}) {
        Messenger messenger;
        pid_t child = 0;
        {
            ProcessPool pool{{.workers = 1}};
            pool.run([](std::string path) { start_a_large_child(path); }, messenger.path());
            child = static_cast<pid_t>(messenger.hear());
            if (worker_ends_first) death_of([&] { pool.run([] { ::raise(SIGKILL); }); });
        }
        EXPECT_EQ(::waitpid(child, nullptr, 0), -1) << "it has become a child of this process";
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(ProcessChildren, OfAWorkerEndWithItsServer) {
    if (!weft::test::kernel_kills_groups()) GTEST_SKIP() << "Linux before 6.9";
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    Watched server(pool.run([] { return ::getppid(); }));
    int started = pool.run([](std::string path) { return start_children(path); }, messenger.path());
    std::vector<Watched> children = hear_of_children(messenger, started);
    server.kill(SIGKILL);
    expect_all_end(children);
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

TEST(ProcessChildren, OfAWorkerEndWithAProgramThatIsKilledThoughTheServerWasStopped) {
    for (bool stopped : {false, true}) {
        Messenger messenger;
        ProcessPool pool{{.workers = 1}};
        std::thread caller([&] {
            death_of([&] {
                pool.run(
                    [](std::string path) {
                        Messenger::tell(path, ::getpid());
                        Messenger::tell(path, weft::to_process([] { return ::getppid(); }));
                        Messenger::tell(path, weft::to_process([] {
                                            pid_t child = ::fork();
                                            if (child == 0) hang();
                                            return child;
                                        }));
                        hang();
                    },
                    messenger.path());
            });
        });
        Watched program(messenger.hear());
        Watched server(messenger.hear());
        std::vector<Watched> children = hear_of_children(messenger, 1);
        if (stopped) server.kill(SIGSTOP);
        program.kill(SIGKILL);
        expect_all_end(children);
        caller.join();
    }
}

// A whole program for the tests below to end: a worker that has a pool of its own.

/// Tells its pid, then that of its pool's server, and of a worker there that is busy for ever. Ends
/// by exit() when it hears something.
void be_a_program(std::string path, std::string orders) {
    std::thread([orders] { std::exit(Messenger::listen(orders)); }).detach();
    Messenger::tell(path, ::getpid());
    Messenger::tell(path, weft::to_process([] { return ::getppid(); }));
    weft::to_process(
        [](std::string where) {
            Messenger::tell(where, ::getpid());
            for (std::atomic<unsigned> busy{0};; ++busy) {
            }
        },
        path);
}

struct Program {
    Messenger reports;
    Messenger orders;
    ProcessPool pool{{.workers = 1}};
    WorkerDied death{"", 0, 0, ""};
    std::thread caller{[this] {
        death = death_of([&] { pool.run<&be_a_program>(reports.path(), orders.path()); });
    }};
    Watched program{reports.hear()};
    Watched server{reports.hear()};
    Watched busy{reports.hear()};

    ~Program() {
        if (caller.joinable()) caller.join();
    }
    bool all_end() const { return program.ends() && server.ends() && busy.ends(); }
};

TEST(ProcessEnd, OfAKilledProgramTakesItsServerAndItsBusyWorkersAlong) {
    Program running;
    running.program.kill(SIGKILL);
    EXPECT_TRUE(running.all_end());
}

TEST(ProcessEnd, OfAKilledProgramNeedsNoServerThatStillRuns) {
    Program running;
    running.server.kill(SIGSTOP);
    running.program.kill(SIGKILL);
    EXPECT_TRUE(running.all_end());
}

TEST(ProcessEnd, OfAProgramThatExitsTakesItsServerAndItsBusyWorkersAlong) {
    Program running;
    Messenger::tell(running.orders.path(), 7);
    EXPECT_TRUE(running.all_end());
    running.caller.join();
    EXPECT_EQ(running.death.exit_status(), 7) << running.death.what();
}

}  // namespace
