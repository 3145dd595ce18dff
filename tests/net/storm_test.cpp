// Many at once, and in bad weather: thousands of connections, numbers of descriptors that change hands, and signals that
// interrupt every system call.
#include <weft/detail/descriptor.hpp>
#include <weft/detail/socket_calls.hpp>

#include <csignal>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "net_support.hpp"
#include "sanitizers.hpp"

namespace weft::test {

namespace {

namespace calls = detail::calls;
using detail::Descriptor;
using detail::Side;

class StormTest : public OnSockets {};
WEFT_TEST_ON_THREADS(StormTest);

// --- many connections ---------------------------------------------------------------------------------------------

/// All descriptors that the process may have, for a while.
class AllDescriptors {
public:
    AllDescriptors() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        rlimit all = before_;
        all.rlim_cur = all.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &all);
        most_ = all.rlim_cur;
    }
    ~AllDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
    AllDescriptors(const AllDescriptors&) = delete;
    AllDescriptors& operator=(const AllDescriptors&) = delete;
    std::size_t most() const { return most_; }

private:
    rlimit before_{};
    std::size_t most_ = 0;
};

// The other ends, in a process of their own, for they need as many descriptors. From several addresses, for a pair of them
// has less than 30,000 ports. Says how many it has, and then how many of them were ended by the server.
constexpr const char* kClients = R"(
import resource, socket, sys
port, wanted = int(sys.argv[1]), int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
clients = []
for i in range(wanted):
    client = socket.socket()
    client.bind(("127.0.0.%d" % (2 + i % 4), 0))
    client.connect(("127.0.0.1", port))
    clients.append(client)
print(len(clients), flush=True)
ended = 0
for client in clients:
    if client.recv(1) == b"":
        ended += 1
print(ended, flush=True)
)";

TEST_P(StormTest, ThousandsOfIdleConnectionsAreServedAndAllEndWithTheirServer) {
    // ThreadSanitizer has a few thousand threads and fibers, and is slow long before.
    std::size_t wanted = WEFT_TSAN ? 150 : WEFT_ASAN ? 1'000 : workers() == 4 ? 20'000 : 2'000;
    AllDescriptors all;
    // The clients' process has a few others too.
    std::size_t possible = all.most() - std::min(all.most(), open_descriptors() + 100);
    if (possible < 100) GTEST_SKIP() << "RLIMIT_NOFILE is " << all.most() << ": too few";
    if (possible < wanted) {
        std::printf("RLIMIT_NOFILE is %zu: %zu connections instead of %zu\n", all.most(), possible,
                    wanted);
        wanted = possible;
    }
    run([&] {
        std::atomic<std::size_t> begun = 0;
        std::atomic<std::size_t> cancelled = 0;
        Server server = start_server(
            [&](TcpStream stream) {
                ++begun;
                try {
                    stream.read(1);
                } catch (const CancelledError&) {
                    ++cancelled;
                    throw;
                }
            },
            "127.0.0.1", 0, {.backlog = 4096});
        Process clients = create_subprocess_exec(
            {"python3", "-c", kClients, std::to_string(server.port()), std::to_string(wanted)},
            {.out = Stdio::pipe});
        ASSERT_EQ(clients.out().readline(), std::to_string(wanted) + "\n");
        while (begun < wanted) weft::sleep(1ms);
        EXPECT_EQ(server.connections(), wanted);
        // One more comes through them all.
        TcpStream late = open_connection("127.0.0.1", server.port());
        late.write("x");
        EXPECT_EQ(late.read(), "");
        server.cancel();
        server.wait_closed();
        EXPECT_EQ(server.connections(), 0U);
        EXPECT_EQ(cancelled, wanted);
        EXPECT_EQ(clients.out().readline(), std::to_string(wanted) + "\n");
        EXPECT_EQ(clients.wait(), 0);
    });
}

// --- numbers that change hands ------------------------------------------------------------------------------------

// A copy keeps a closed descriptor in the kernel's set, so that events of it come while its number, and the loop's slot, are
// somebody else's: who waits there must not be woken by them.
TEST_P(StormTest, AnEventOfAClosedDescriptorWakesNobodyElse) {
    run([] {
        constexpr int kTasks = 8;
        constexpr int kRounds = 1'000;
        std::atomic<int> woken_by_others = 0;
        task_group([&](TaskGroup& tg) {
            for (int t = 0; t < kTasks; ++t)
                tg.create_task([&, t] {
                    for (int i = 0; i < kRounds; ++i) {
                        int copies[2];
                        {
                            Pipe old;
                            copies[0] = ::dup(old.in.fd());
                            copies[1] = ::dup(old.out.fd());
                            auto reader =
                                create_task([&] { return old.in.wait(Side::in, "test"); });
                            if ((i + t) % 2 == 0) yield();
                            old.in.close();
                            ASSERT_EQ(await(reader), -EBADF);
                        }
                        Pipe next;
                        std::atomic<bool> written = false;
                        auto reader = create_task([&] {
                            int rc = next.in.wait(Side::in, "test");
                            if (!written) ++woken_by_others;
                            return rc;
                        });
                        if ((i + t) % 3 != 0) yield();
                        ASSERT_EQ(::write(copies[1], "x", 1), 1);
                        for (int turns = i % 4; turns > 0; --turns) yield();
                        written = true;
                        ASSERT_EQ(next.out.once([](int fd) { return calls::write(fd, "y", 1); }),
                                  1);
                        ASSERT_EQ(await(reader), 0);
                        ::close(copies[0]);
                        ::close(copies[1]);
                    }
                });
        });
        EXPECT_EQ(woken_by_others, 0);
    });
}

// Streams are closed under their readers and opened again with the same numbers, by tasks of all workers.
TEST_P(StormTest, AReaderGetsItsOwnStreamsBytesOrIsToldThatItIsClosed) {
    run([] {
        constexpr int kTasks = 8;
        constexpr int kRounds = 600;
        task_group([&](TaskGroup& tg) {
            for (int t = 0; t < kTasks; ++t)
                tg.create_task([t] {
                    for (int i = 0; i < kRounds; ++i) {
                        std::string tag = std::to_string(t * kRounds + i) + "\n";
                        Pair pair;
                        std::string got;
                        int error = 0;
                        auto reader = create_task(
                            [&] { error = errno_of([&] { got = pair.b.readline(); }); });
                        if (i % 3 == 0) yield();
                        auto other = create_task([&] {
                            if (i % 2 == 0)
                                pair.b.close();
                            else
                                pair.a.write(tag);
                        });
                        await(other);
                        await(reader);
                        ASSERT_EQ(error, i % 2 == 0 ? EBADF : 0);
                        ASSERT_EQ(got, i % 2 == 0 ? "" : tag);
                    }
                });
        });
    });
}

// --- signals ------------------------------------------------------------------------------------------------------

/// How often a storm has struck every thread. Counted by who sends: ThreadSanitizer (g++ 12) may leave a thread with all signals
/// blocked where a handler uses an atomic variable.
std::atomic<int> strikes{0};

/// While it lives, a thread sends SIGUSR1 to every thread of this process, over and over, and a timer SIGALRM; their handlers
/// do nothing, and no system call is restarted after them.
class Storm {
public:
    Storm() {
        strikes = 0;
        struct sigaction action{};
        action.sa_handler = [](int) {};
        sigemptyset(&action.sa_mask);
        ::sigaction(SIGUSR1, &action, &usr1_before_);
        ::sigaction(SIGALRM, &action, &alrm_before_);
        itimerval often{{0, 500}, {0, 500}};
        ::setitimer(ITIMER_REAL, &often, nullptr);
        thread_ = std::thread([this] { blow(); });
    }
    ~Storm() {
        over_ = true;
        thread_.join();
        itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
        // What was sent and has not been delivered yet meets "ignored", which drops it.
        std::signal(SIGUSR1, SIG_IGN);
        std::signal(SIGALRM, SIG_IGN);
        ::sigaction(SIGUSR1, &usr1_before_, nullptr);
        ::sigaction(SIGALRM, &alrm_before_, nullptr);
    }
    Storm(const Storm&) = delete;
    Storm& operator=(const Storm&) = delete;

private:
    void blow() {
        auto self = static_cast<long>(::syscall(SYS_gettid));
        while (!over_) {
            std::error_code ended;  // a thread may end while the list is read
            std::filesystem::directory_iterator threads("/proc/self/task", ended);
            for (; !ended && threads != std::filesystem::directory_iterator();
                 threads.increment(ended)) {
                long thread = std::stol(threads->path().filename().string());
                if (thread != self) ::syscall(SYS_tgkill, ::getpid(), thread, SIGUSR1);
            }
            ++strikes;
            std::this_thread::yield();
        }
    }

    struct sigaction usr1_before_{};
    struct sigaction alrm_before_{};
    std::atomic<bool> over_{false};
    std::thread thread_;
};

TEST_P(StormTest, SignalsThatInterruptEverySystemCallAreNoErrors) {
    Storm storm;
    run([] {
        Server server = start_server(
            [](TcpStream stream) {
                int error = errno_of([&] {
                    for (std::string line; !(line = stream.readline()).empty();) stream.write(line);
                });
                EXPECT_EQ(error, ECONNRESET);
            },
            "127.0.0.1", 0);
        std::string path =
            (std::filesystem::temp_directory_path() / ("weft-storm-" + std::to_string(::getpid())))
                .string();
        std::string bytes(300'000, 'b');
        constexpr int kEnough = 500;
        auto talk = [&] {
            do {
                TcpStream client = open_connection("127.0.0.1", server.port());
                for (int i = 0; i < 50; ++i) {
                    std::string line = std::to_string(i) + std::string(1'000, 'x') + "\n";
                    client.write(line);
                    ASSERT_EQ(client.readline(), line);
                }
                client.abort();  // its port shall not stay behind
            } while (strikes < kEnough);
        };
        auto wait = [&] {
            do {
                weft::sleep(1ms);
                EXPECT_THROW(timeout(1ms, [] { wait_for_ever(); }), TimeoutError);
                EXPECT_EQ(to_thread([] { return 7; }), 7);
                EXPECT_EQ(create_subprocess_exec({"true"}).wait(), 0);
            } while (strikes < kEnough);
        };
        auto store = [&] {
            do {
                write_file(path, bytes);
                ASSERT_EQ(read_file(path).size(), bytes.size());
            } while (strikes < kEnough);
            std::filesystem::remove(path);
        };
        task_group([&](TaskGroup& tg) {
            for (int i = 0; i < 4; ++i) tg.create_task(talk);
            tg.create_task(wait);
            tg.create_task(store);
        });
    });
}

// An open(2) that waits for a lease is one that a signal does interrupt, in a thread of the pool.
TEST_P(StormTest, AnOpenThatSignalsInterruptIsMadeAgain) {
    std::string path =
        (std::filesystem::temp_directory_path() / ("weft-leased-" + std::to_string(::getpid())))
            .string();
    run([&] {
        write_file(path, "leased");
        Lease lease(path);
        if (lease.error() != 0)
            GTEST_SKIP() << "this file system has no leases: " << std::strerror(lease.error());
        Storm storm;
        auto opener = create_task([&] { return open_file(path, {.write = true}).size(); });
        yield_until([&] { return lease.is_waited_for(); });
        int seen = strikes;
        yield_until([&] { return strikes > seen + 100; });
        EXPECT_FALSE(opener.done());
        lease.give_back();
        EXPECT_EQ(await(opener), 6U);
    });
    std::filesystem::remove(path);
}

}  // namespace

}  // namespace weft::test
