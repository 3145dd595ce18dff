// What the process offload does when the system has nothing left to give: every shortage is an
// error that names it, costs no other call anything, leaves nothing behind, and is over when it is
// over.
//
// Descriptors are taken away with RLIMIT_NOFILE, of any of the three kinds of process. System calls
// that no limit reaches are made to fail by a seccomp filter on the thread that begins the pool,
// which its manager thread, its fork server and its workers inherit.
#include <weft/process.hpp>
#include <weft/shared_buffer.hpp>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <initializer_list>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "offload/process_support.hpp"
#include "process/os.hpp"
#include "sanitizers.hpp"

namespace {

using weft::ProcessPool;
using weft::test::Messenger;
using weft::test::Watched;
namespace process = weft::rt::process;

constexpr int kOpenMax = 256;

/// What the call throws; the text is made afterwards, when there may be descriptors again:
/// sanitizers want some for looking.
std::exception_ptr caught_from(const std::function<void()>& call) {
    try {
        call();
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}

/// A process's limit, lowered for a while; a pid of 0 is this one.
class LowLimit {
public:
    LowLimit(pid_t pid, __rlimit_resource resource, rlim_t value) : pid_(pid), resource_(resource) {
        if (::prlimit(pid_, resource_, nullptr, &before_) != 0) throw std::runtime_error("prlimit");
        // UBSan looks at the first object of a class through a pipe, and takes it for broken where it gets none.
        std::exception_ptr known =
            caught_from([] { throw std::system_error(EMFILE, std::generic_category(), ""); });
        rlimit low = before_;
        low.rlim_cur = value;
        if (::prlimit(pid_, resource_, &low, nullptr) != 0) throw std::runtime_error("prlimit");
    }
    ~LowLimit() { ::prlimit(pid_, resource_, &before_, nullptr); }
    LowLimit(const LowLimit&) = delete;
    LowLimit& operator=(const LowLimit&) = delete;

private:
    pid_t pid_;
    __rlimit_resource resource_;
    rlimit before_{};
};

int count_descriptors() {
    int open = 0;
    for (int fd = 0; fd < kOpenMax; ++fd) open += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
    return open;
}

/// The lowest free number that has `below` free ones below it.
int free_descriptor(int below) {
    for (int fd = 0;; ++fd) {
        if (::fcntl(fd, F_GETFD) == -1 && below-- == 0) return fd;
    }
}
int lowest_free_descriptor() { return free_descriptor(0); }

/// A process's state letter and its parent; none if it is gone.
struct Status {
    char state = 0;
    pid_t parent = 0;
};
Status status_of(pid_t pid) {
    std::string line;
    std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/stat"), line);
    // The name before it may contain anything.
    std::size_t name_end = line.rfind(") ");
    if (name_end == std::string::npos) return {};
    return {line[name_end + 2], std::atoi(line.c_str() + name_end + 4)};
}

/// Zombies included.
std::set<pid_t> children_of(pid_t parent) {
    std::set<pid_t> children;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        pid_t pid = std::atoi(entry.path().filename().c_str());
        if (pid != 0 && status_of(pid).parent == parent) children.insert(pid);
    }
    return children;
}

/// Waits for the server to wait for requests, with nothing open that belongs to one.
int lowest_free_descriptor_of_idle(pid_t server) {
    while (status_of(server).state != 'S') std::this_thread::yield();
    std::filesystem::path directory = "/proc/" + std::to_string(server) + "/fd";
    int fd = 0;
    while (std::filesystem::is_symlink(directory / std::to_string(fd))) ++fd;
    return fd;
}

std::string text_of(const std::exception_ptr& caught) {
    if (caught == nullptr) return "it returned";
    try {
        std::rethrow_exception(caught);
    } catch (const std::exception& error) {
        return error.what();
    }
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

/// A system call that is to fail where the argument, masked, has that value.
struct FailingCall {
    long number;
    unsigned argument;
    unsigned mask;
    unsigned value;
    int error;
};

/// For this thread, and for the threads and processes that it makes, for ever. False: not here.
bool make_fail(std::initializer_list<FailingCall> calls) {
    std::vector<sock_filter> program;
    auto load = [](std::size_t offset) {
        return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset));
    };
    for (const FailingCall& call : calls) {
        program.push_back(load(offsetof(seccomp_data, nr)));
        program.push_back(
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call.number), 0, 4));
        program.push_back(load(offsetof(seccomp_data, args) + call.argument * sizeof(__u64)));
        program.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, call.mask));
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call.value, 0, 1));
        program.push_back(
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(call.error)));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

/// The text of the error of a pool's first call, begun where those system calls fail; none where
/// they cannot be made to.
std::optional<std::string> error_where_fail(std::initializer_list<FailingCall> calls,
                                            ProcessPool& pool) {
    std::optional<std::string> text;
    std::thread([&] {
        if (!make_fail(calls)) return;
        text = text_of(caught_from([&] { pool.run([] { return 1; }); }));
    }).join();
    return text;
}

/// Kills the pool's only worker, which is idle.
void kill_worker(ProcessPool& pool) {
    std::uint64_t died = pool.figures().died;
    ::kill(pool.run([] { return ::getpid(); }), SIGKILL);
    while (pool.figures().died == died) std::this_thread::yield();
}

// --- the program --------------------------------------------------------------------------------

TEST(ProcessResources, NoneForThePoolsManagerIsAClearError) {
    ProcessPool pool{{.workers = 1}};
    int before = count_descriptors();
    for (int left : {0, 1}) {
        std::exception_ptr caught;
        {
            LowLimit limit(0, RLIMIT_NOFILE, static_cast<rlim_t>(free_descriptor(left)));
            caught = caught_from([&] { pool.run([] { return 1; }); });
        }
        EXPECT_SAYS(text_of(caught), "Too many open files");
        EXPECT_EQ(count_descriptors(), before);
    }
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

TEST(ProcessResources, NoThreadForThePoolsManagerIsAClearErrorAndLeavesNoDescriptor) {
    ProcessPool pool{{.workers = 1}};
    int before = count_descriptors();
    auto text =
        error_where_fail({{SYS_clone3, 0, 0, 0, EAGAIN}, {SYS_clone, 0, 0, 0, EAGAIN}}, pool);
    if (!text) GTEST_SKIP() << "no seccomp filters here";
    EXPECT_SAYS(*text, "manager thread");
    EXPECT_SAYS(*text, "Resource temporarily unavailable");
    EXPECT_EQ(count_descriptors(), before);
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

TEST(ProcessResources, AServerThatCannotBeWatchedIsNamedAndEnded) {
    // The pool's descriptors in their order: epoll, doorbell, control socket.
    int control = free_descriptor(2);
    int before = count_descriptors();
    std::set<pid_t> children = children_of(::getpid());
    {
        ProcessPool pool{{.workers = 1}};
        auto text = error_where_fail(
            {{SYS_epoll_ctl, 2, UINT_MAX, static_cast<unsigned>(control), ENOSPC}}, pool);
        if (!text) GTEST_SKIP() << "no seccomp filters here";
        EXPECT_SAYS(*text, "the fork server could not be watched: No space left on device");
        EXPECT_EQ(children_of(::getpid()), children);
    }
    EXPECT_EQ(count_descriptors(), before);
}

TEST(ProcessResources, AWorkerThatCannotBeWatchedIsNamedAndEnded) {
    // After the control socket, the first that is free again when the server is there.
    int socket = free_descriptor(3);
    int before = count_descriptors();
    std::set<pid_t> children = children_of(::getpid());
    {
        ProcessPool pool{{.workers = 1}};
        auto text = error_where_fail(
            {{SYS_epoll_ctl, 2, UINT_MAX, static_cast<unsigned>(socket), ENOSPC}}, pool);
        if (!text) GTEST_SKIP() << "no seccomp filters here";
        EXPECT_SAYS(*text, "a worker process could not be watched: No space left on device");
        for (pid_t server : children_of(::getpid())) {
            if (children.contains(server)) continue;
            while (!children_of(server).empty()) std::this_thread::yield();
        }
    }
    EXPECT_EQ(count_descriptors(), before);
    EXPECT_EQ(children_of(::getpid()), children);
}

TEST(ProcessResources, AWorkerWhoseLostServerLeavesItUnwatchedFailsItsCallAndNoOther) {
    // That of the worker's handle: where the server's ends were, while it was made.
    int handle = free_descriptor(4);
    int before = count_descriptors();
    {
        ProcessPool pool{{.workers = 1}};
        bool there = false;
        std::string first;
        int second = 0;
        std::thread([&] {
            there =
                make_fail({{SYS_epoll_ctl, 2, UINT_MAX, static_cast<unsigned>(handle), ENOSPC}});
            if (!there) return;
            first = text_of(caught_from([&] {
                pool.run([] {
                    ::kill(::getppid(), SIGKILL);
                    weft::test::hang();
                });
            }));
            second = pool.run([] { return 2; });
        }).join();
        if (!there) GTEST_SKIP() << "no seccomp filters here";
        EXPECT_SAYS(first, "was killed with its fork server");
        EXPECT_EQ(second, 2);
    }
    EXPECT_EQ(count_descriptors(), before);
}

TEST(ProcessResources, NoDescriptorForANewWorkersHandleEndsThatWorkerAndFailsNoCall) {
    ProcessPool pool{{.workers = 2}};
    pid_t server = pool.run([] { return ::getppid(); });
    Messenger messenger;
    Messenger orders;
    auto talk = [](std::string path, std::string go) {
        Messenger::tell(path, ::getpid());
        return Messenger::listen(go);
    };
    auto first = std::async(std::launch::async,
                            [&] { return pool.run(talk, messenger.path(), orders.path()); });
    pid_t busy = messenger.hear();
    // Two workers are wanted from the second call on, and the server answers when it is let.
    int before = count_descriptors();
    ::kill(server, SIGSTOP);
    auto second = std::async(std::launch::async, [&] { return pool.run([] { return 7; }); });
    while (pool.figures().workers != 2) std::this_thread::yield();
    // Of the socket pair the other end is about to be closed.
    while (count_descriptors() != before + 1) std::this_thread::yield();
    {
        LowLimit limit(0, RLIMIT_NOFILE, static_cast<rlim_t>(lowest_free_descriptor()));
        ::kill(server, SIGCONT);
        while (count_descriptors() != before) std::this_thread::yield();
    }
    EXPECT_EQ(second.get(), 7);
    Messenger::tell(orders.path(), 5);
    EXPECT_EQ(first.get(), 5);
    auto count_workers = [&] { return children_of(server).size(); };
    while (count_workers() > 2) std::this_thread::yield();
    EXPECT_TRUE(children_of(server).contains(busy));
}

TEST(ProcessResources, NoDescriptorToTakeAResultIsAClearErrorAndTheWorkerLives) {
    ProcessPool pool{{.workers = 1}};
    pid_t worker = pool.run([] { return ::getpid(); });
    auto inflate = [](std::size_t size) { return std::string(size, 'x'); };
    std::exception_ptr caught;
    {
        LowLimit limit(0, RLIMIT_NOFILE, static_cast<rlim_t>(lowest_free_descriptor()));
        caught = caught_from([&] { pool.run(inflate, std::size_t{1'000'000}); });
    }
    EXPECT_SAYS(text_of(caught), "to take the result: Too many open files");
    EXPECT_EQ(pool.run(inflate, std::size_t{1'000'000}).size(), 1'000'000U);
    EXPECT_EQ(pool.run([] { return ::getpid(); }), worker);
}

TEST(ProcessResources, NoDescriptorForTheArgumentsIsAClearError) {
    ProcessPool pool{{.workers = 1}};
    auto size_of = [](std::string text) { return text.size(); };
    std::string large(1'000'000, 'x');
    EXPECT_EQ(pool.run(size_of, large), large.size());
    std::exception_ptr caught;
    {
        LowLimit limit(0, RLIMIT_NOFILE, static_cast<rlim_t>(lowest_free_descriptor()));
        caught = caught_from([&] { pool.run(size_of, large); });
    }
    EXPECT_SAYS(text_of(caught), "arguments of a call to another process: Too many open files");
    EXPECT_EQ(pool.run(size_of, large), large.size());
}

// --- the fork server ----------------------------------------------------------------------------

TEST(ProcessResources, NoneInTheForkServerForASocketOrAHandleIsAClearErrorAndLeavesNoWorker) {
    ProcessPool pool{{.workers = 1}};
    pid_t server = pool.run([] { return ::getppid(); });
    for (int left : {0, 1}) {
        std::exception_ptr caught;
        {
            auto value = static_cast<rlim_t>(lowest_free_descriptor_of_idle(server) + left);
            LowLimit limit(server, RLIMIT_NOFILE, value);
            kill_worker(pool);
            caught = caught_from([&] { pool.run([] { return 1; }); });
        }
        EXPECT_SAYS(text_of(caught), "a worker process could not be started: Too many open files");
        EXPECT_TRUE(children_of(server).empty());
        EXPECT_EQ(pool.run([] { return ::getppid(); }), server);
    }
}

TEST(ProcessResources, AForkThatFailsIsAClearErrorAndLeavesNothing) {
    int before = count_descriptors();
    std::set<pid_t> children = children_of(::getpid());
    {
        ProcessPool pool{{.workers = 1}};
        // A clone() that does not share memory.
        auto text = error_where_fail({{SYS_clone, 0, CLONE_VM, 0, EAGAIN}}, pool);
        if (!text) GTEST_SKIP() << "no seccomp filters here";
        EXPECT_SAYS(*text,
                    "a worker process could not be started: Resource temporarily unavailable");
    }
    EXPECT_EQ(count_descriptors(), before);
    EXPECT_EQ(children_of(::getpid()), children);
}

/// In a worker. The kernel does not hold root to the limit below. False: not here.
bool become_nobody() {
    if (::getuid() != 0) return true;
    constexpr uid_t kNobody = 65534;
    return ::setgid(kNobody) == 0 && ::setuid(kNobody) == 0 &&
           ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 && ::access("/proc/self/exe", X_OK) == 0;
}

/// Its user has more descriptors on the way between processes than a fork server may have open.
std::vector<std::string> call_with_descriptors_under_way() {
    if (!become_nobody()) return {};
    ProcessPool pool{{.workers = 1}};
    pid_t server = pool.run([] { return ::getppid(); });
    process::Descriptor in;
    std::exception_ptr caught;
    {
        process::Descriptor out;
        process::make_socketpair(in, out);
        std::byte one{};
        const iovec part{&one, 1};
        for (int i = 0; i < 32; ++i) {
            const int passed = STDERR_FILENO;
            process::send_packet(in.get(), std::span(&part, 1), std::span(&passed, 1),
                                 process::Blocking::no);
        }
        LowLimit limit(server, RLIMIT_NOFILE, 16);
        kill_worker(pool);
        caught = caught_from([&] { pool.run([] { return 1; }); });
    }
    bool left = !children_of(server).empty();
    bool same = pool.run([] { return ::getppid(); }) == server;
    return {text_of(caught), left ? "a worker is left" : "", same ? "" : "the server has ended"};
}

TEST(ProcessResources, AHandleThatCannotBeSentIsAClearErrorAndTheForkServerLives) {
    ProcessPool pool{{.workers = 1}};
    std::vector<std::string> told = pool.run<&call_with_descriptors_under_way>();
    if (told.empty()) GTEST_SKIP() << "another user cannot run this program here";
    EXPECT_SAYS(told[0], "a worker process could not be started: Too many references");
    EXPECT_EQ(told[1], "");
    EXPECT_EQ(told[2], "");
}

/// The same for a program that sends a buffer, and for a worker that answers with one.
std::vector<std::string> send_buffers_with_descriptors_under_way() {
    if (!become_nobody()) return {};
    ProcessPool pool{{.workers = 1}};
    auto echo = [](weft::SharedBuffer buffer) { return buffer; };
    auto make = [] { return weft::SharedBuffer(4096); };
    weft::SharedBuffer buffer = pool.run(make);
    pid_t worker = pool.run([] { return ::getpid(); });
    std::array<std::exception_ptr, 2> caught;
    bool others_go = false;
    {
        process::Descriptor in;
        process::Descriptor out;
        process::make_socketpair(in, out);
        std::byte one{};
        const iovec part{&one, 1};
        const int passed = STDERR_FILENO;
        for (int i = 0; i < 32; ++i) {
            process::send_packet(in.get(), std::span(&part, 1), std::span(&passed, 1),
                                 process::Blocking::no);
        }
        {
            LowLimit limit(0, RLIMIT_NOFILE, 16);
            caught[0] = caught_from([&] { pool.run(echo, buffer); });
            others_go = pool.run([] { return 1; }) == 1;
        }
        LowLimit limit(worker, RLIMIT_NOFILE, 16);
        caught[1] = caught_from([&] { pool.run(make); });
    }
    bool lives = pool.run([] { return ::getpid(); }) == worker;
    bool again = pool.run(echo, buffer).size() == 4096;
    return {text_of(caught[0]), text_of(caught[1]), lives && others_go && again ? "" : "lost"};
}

TEST(ProcessResources, ABufferThatCannotBeSentIsAClearErrorAndGoesWithALaterCall) {
    ProcessPool pool{{.workers = 1}};
    auto told = pool.run<&send_buffers_with_descriptors_under_way>();
    if (told.empty()) GTEST_SKIP() << "another user cannot run this program here";
    EXPECT_SAYS(told[0],
                "could not be sent to a worker process with its shared buffers: Too many ref");
    EXPECT_SAYS(told[1], "the worker process could not send the result: Too many ref");
    EXPECT_EQ(told[2], "");
}

// --- a worker -----------------------------------------------------------------------------------

TEST(ProcessResources, NoneInTheWorkerForArgumentsOrResultIsAClearErrorAndTheWorkerLives) {
    ProcessPool pool{{.workers = 1}};
    pid_t worker = pool.run([] { return ::getpid(); });
    auto size_of = [](std::string text) { return text.size(); };
    auto inflate = [](std::size_t size) { return std::string(size, 'x'); };
    std::string large(1'000'000, 'x');
    {
        LowLimit limit(worker, RLIMIT_NOFILE, 0);
        EXPECT_SAYS(text_of(caught_from([&] { pool.run(size_of, large); })),
                    "could not take the arguments: Too many open files");
        EXPECT_SAYS(text_of(caught_from([&] { pool.run(inflate, large.size()); })),
                    "could not send the result: Too many open files");
    }
    EXPECT_EQ(pool.run(size_of, large), large.size());
    EXPECT_EQ(pool.run([] { return ::getpid(); }), worker);
}

TEST(ProcessResources, NoMemoryInTheWorkerForTheArgumentsIsNotCalledALackOfDescriptors) {
    if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "a sanitizer needs more addresses";
    ProcessPool pool{{.workers = 1}};
    pid_t worker = pool.run([] { return ::getpid(); });
    auto size_of = [](std::string text) { return text.size(); };
    std::string large(1'000'000, 'x');
    {
        LowLimit limit(worker, RLIMIT_AS, 1);
        EXPECT_SAYS(text_of(caught_from([&] { pool.run(size_of, large); })),
                    "could not take the arguments: Cannot allocate memory");
    }
    EXPECT_EQ(pool.run(size_of, large), large.size());
    EXPECT_EQ(pool.run([] { return ::getpid(); }), worker);
}

}  // namespace
