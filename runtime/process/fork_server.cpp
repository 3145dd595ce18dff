#include "process/fork_server.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sanitizers.hpp"

namespace weft::rt::process {

namespace {

static_assert(std::is_trivially_copyable_v<WorkerSetup>);
constexpr const char* kVariable = "WEFT_FORK_SERVER";
constexpr int kControlFd = 3;

bool wrapped = false;
char** program_argv = nullptr;

/// What the program tells its server in the environment: "weftVERSION:fd:parent:setup", where the
/// setup is its bytes in hexadecimal. Both are the same executable, but perhaps not with the same
/// library: one that was exchanged under the running program may have another version.
constexpr std::string_view kOrdersBegin = "weft";
struct Orders {
    int control = -1;
    pid_t parent = 0;
    WorkerSetup setup;
};
constexpr std::size_t kSetupDigits = sizeof(WorkerSetup) * 2;

/// The terminal sends these to the whole process group; whether to end is the program's decision.
constexpr std::array kIgnoredByServer = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE};

void set_signals() {
    for (int number : kIgnoredByServer) ::signal(number, SIG_IGN);
    // Ignored by a static constructor or a preload, it would take the children's wait status away.
    ::signal(SIGCHLD, SIG_DFL);
}

/// ThreadSanitizer has a thread of its own in each process.
constexpr int kThreadsOfTools = WEFT_TSAN;

int count_threads() noexcept {
    struct stat tasks{};
    // A directory has two links of its own, and one for each directory in it.
    return ::stat("/proc/self/task", &tasks) == 0 ? static_cast<int>(tasks.st_nlink) - 2 : 1;
}

/// Holds the end that SIGCONT may bring back while the list of children changes: it is not to miss one.
class EndHeldBack {
public:
    EndHeldBack() noexcept {
        sigset_t end;
        sigemptyset(&end);
        sigaddset(&end, SIGCONT);
        ::pthread_sigmask(SIG_BLOCK, &end, &before_);
    }
    ~EndHeldBack() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    EndHeldBack(const EndHeldBack&) = delete;
    EndHeldBack& operator=(const EndHeldBack&) = delete;

private:
    sigset_t before_;
};

/// For one, or by a negative number for a group, until there is none.
void wait_for_all(pid_t pid) noexcept {
    while (::waitpid(pid, nullptr, 0) > 0 || errno == EINTR) {
    }
}

class ForkServer {
public:
    ForkServer(const Orders& orders, detail::ProcessHandler handler)
        : control_(orders.control),
          program_(orders.parent),
          setup_(orders.setup),
          handler_(handler) {}

    [[noreturn]] void run();
    /// From a signal handler too.
    [[noreturn]] void finish() noexcept;

private:
    /// A worker, and the group of processes that it leads. Of a reaped one what it has started may
    /// still be about to end.
    struct Child {
        pid_t pid;
        std::uint64_t ticket;
        bool reaped = false;
    };

    void preload();
    void take_request();
    void reap_children();
    bool has_ended(const Child& child) noexcept;
    void forget_ended_groups() noexcept;
    bool make_room_for_a_child() noexcept;
    void forget(pid_t pid) noexcept;
    void warn_of_threads() const noexcept;
    void fork_worker(std::uint64_t ticket, Descriptor socket);
    [[noreturn]] void become_worker(pid_t server, Descriptor socket);
    int hand_over(const Child& child) noexcept;
    int send(FrameKind kind, std::uint64_t ticket, int number, int passed = -1) noexcept;
    void report(FrameKind kind, std::uint64_t ticket, int number);

    void die_with_the_program() noexcept;
    static void on_continue(int number) noexcept;

    Descriptor control_;
    pid_t program_;
    Descriptor child_signal_;
    WorkerSetup setup_;
    detail::ProcessHandler handler_;
    std::vector<Child> children_;
    std::array<std::byte, kPacketBytesMax + 1> buffer_;
};

void ForkServer::preload() {
    Payload what_went_wrong = run_step(setup_.preload, handler_);
    if (what_went_wrong.bytes().empty()) return;
    OutgoingFrame frame;
    make_frame(
        FrameKind::hello, kPreloadFailed,
        what_went_wrong.bytes().first(std::min(what_went_wrong.bytes().size(), std::size_t{400})),
        frame);
    send_frame(control_.get(), frame, Blocking::yes);
    finish();
}

void ForkServer::run() {
    preload();
    set_signals();  // once more: what it has set for itself is neither the server's nor the workers'
    die_with_the_program();
    // What workers have started, and left behind, is reaped here: a program that is the first process
    // of its container knows nothing of them.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t child_ended;
    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    ::pthread_sigmask(SIG_BLOCK, &child_ended, nullptr);
    child_signal_ = Descriptor(::signalfd(-1, &child_ended, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!child_signal_.open()) {
        std::fprintf(stderr, "weft: fork server: signalfd: %s\n", ::strerrordesc_np(errno));
        ::_exit(EXIT_FAILURE);
    }
    warn_of_threads();
    report(FrameKind::hello, 0, 0);
    for (;;) {
        pollfd watched[] = {{control_.get(), POLLIN, 0}, {child_signal_.get(), POLLIN, 0}};
        if (::poll(watched, 2, -1) < 0) continue;
        if (watched[1].revents != 0) reap_children();
        if (watched[0].revents != 0) take_request();
    }
}

/// Of a thread no worker has more than what it held at the fork.
void ForkServer::warn_of_threads() const noexcept {
    int threads = count_threads() - 1 - kThreadsOfTools;
    if (threads <= 0) return;
    std::fprintf(
        stderr,
        "weft: %d thread%s beside the fork server's own, started by static constructors%s: "
        "worker processes do not have them, and a lock that one of them holds while a worker "
        "is forked stays locked there for ever. Threads are for main, or for a pool's "
        "initializer, to start\n",
        threads, threads == 1 ? " runs" : "s run",
        setup_.preload.object == CodeAddress{}.object ? "" : " or the preload");
}

ForkServer* the_server = nullptr;

/// SIGKILL would end the server and its workers, and leave what those have started. SIGCONT goes on
/// where somebody has stopped the server, and its handler also where it is stuck in some output.
void ForkServer::die_with_the_program() noexcept {
    the_server = this;
    struct sigaction action{};
    action.sa_handler = &ForkServer::on_continue;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGCONT, &action, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGCONT);
    if (::getppid() != program_) finish();
}

/// Others send it too, for their own reasons.
void ForkServer::on_continue(int) noexcept {
    if (::getppid() != the_server->program_) the_server->finish();
}

void ForkServer::take_request() {
    IncomingFrame frame = receive_frame(control_.get(), buffer_, 0, Blocking::no);
    if (frame.error == -EAGAIN) return;
    // A frame that is none has come from a program that is out of its mind; ending is the safe
    // answer to all of it.
    if (frame.error != 0 || frame.closed) finish();
    if (frame.bad == FrameError::no_resources) {
        report(FrameKind::spawn_failed, frame.header.id, frame.shortage);
        return;
    }
    if (frame.bad != FrameError::none || frame.header.kind != FrameKind::spawn) finish();
    fork_worker(frame.header.id, std::move(frame.passed));
}

void ForkServer::reap_children() {
    signalfd_siginfo ignored[8];
    while (::read(child_signal_.get(), ignored, sizeof ignored) > 0) {
    }
    // One signal may stand for several ends, so each child is asked. A worker's number stays taken
    // until this reaps it.
    for (Child& child : children_) {
        if (child.reaped || !has_ended(child)) continue;
        // What it has started goes with it, while its number, which is the group's, is still taken.
        ::kill(-child.pid, SIGKILL);
        child.reaped = true;
        int status = 0;
        ::waitpid(child.pid, &status, 0);
        report(FrameKind::exited, child.ticket, status);
    }
    for (siginfo_t left{};; left = {}) {
        constexpr int kLook = WEXITED | WNOHANG | WNOWAIT;
        if (::waitid(P_ALL, 0, &left, kLook) != 0 || left.si_pid == 0) break;
        // A worker that has ended meanwhile has its turn with the signal of that.
        auto is_it = [&](const Child& child) { return child.pid == left.si_pid && !child.reaped; };
        if (std::ranges::any_of(children_, is_it)) break;
        ::waitpid(left.si_pid, nullptr, 0);
    }
    forget_ended_groups();
}

bool ForkServer::has_ended(const Child& child) noexcept {
    siginfo_t ended{};
    constexpr int kAsk = WEXITED | WNOHANG | WNOWAIT;
    bool asked = ::waitid(P_PID, static_cast<id_t>(child.pid), &ended, kAsk) == 0;
    return !asked || ended.si_pid != 0;
}

void ForkServer::forget_ended_groups() noexcept {
    const EndHeldBack list_changes;
    std::erase_if(children_, [](const Child& child) {
        siginfo_t ignored{};
        constexpr int kAsk = WEXITED | WNOHANG | WNOWAIT;
        return child.reaped && ::waitid(P_PGID, static_cast<id_t>(child.pid), &ignored, kAsk) != 0;
    });
}

bool ForkServer::make_room_for_a_child() noexcept {
    const EndHeldBack list_changes;
    try {
        children_.reserve(children_.size() + 1);
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

void ForkServer::forget(pid_t pid) noexcept {
    const EndHeldBack list_changes;
    std::erase_if(children_, [&](const Child& child) { return child.pid == pid; });
}

void ForkServer::fork_worker(std::uint64_t ticket, Descriptor socket) {
    if (!make_room_for_a_child()) {
        report(FrameKind::spawn_failed, ticket, ENOMEM);
        return;
    }
    // What static constructors have printed must not stand in every worker's buffer as well.
    std::fflush(nullptr);
    pid_t server = ::getpid();
    pid_t pid = -1;
    int fork_error = 0;
    const Child child = [&] {
        const EndHeldBack child_is_in_the_list;
        pid = ::fork();
        if (pid == 0) become_worker(server, std::move(socket));
        fork_error = errno;
        forget(pid);  // a number that is given out anew is that of no group any more
        const Child forked{pid, ticket};
        if (pid > 0) children_.push_back(forked);
        return forked;
    }();
    if (pid < 0) {
        report(FrameKind::spawn_failed, ticket, fork_error);
        return;
    }
    if (int error = hand_over(child); error != 0) {
        // Of no use to the program, which cannot watch it; the other workers are left alone.
        ::kill(-pid, SIGKILL);  // it may have begun its initializer
        ::kill(pid, SIGKILL);
        wait_for_all(pid);
        forget(pid);
        report(FrameKind::spawn_failed, ticket, -error);
    }
}

/// Tells the program of its new worker.
int ForkServer::hand_over(const Child& child) noexcept {
    Descriptor pidfd;
    if (int error = open_pidfd(child.pid, pidfd); error != 0) return error;
    return send(FrameKind::spawned, child.ticket, child.pid, pidfd.get());
}

void ForkServer::become_worker(pid_t server, Descriptor socket) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // Orphaned before that line: nobody would have told us.
    if (::getppid() != server) ::_exit(EXIT_SUCCESS);
    // A group of its own: what it starts can be ended together with it.
    ::setpgid(0, 0);
    ::signal(SIGTTOU, SIG_IGN);  // and it prints from there, also where `stty tostop` is set
    ::signal(SIGCONT, SIG_DFL);
    control_.close();
    child_signal_.close();
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    for (int number : kIgnoredByServer) {
        // An interrupt from the terminal is the program's to act upon: it kills its workers, or
        // lets them finish.
        if (number != SIGINT) ::signal(number, SIG_DFL);
    }
    sigset_t none;
    sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    serve_calls(std::move(socket), setup_, handler_);
}

int ForkServer::send(FrameKind kind, std::uint64_t ticket, int number, int passed) noexcept {
    OutgoingFrame frame;
    make_frame(kind, ticket, std::as_bytes(std::span(&number, 1)), frame);
    return send_frame(control_.get(), frame, Blocking::yes, passed);
}

/// A program that cannot be told what became of its workers is as good as gone.
void ForkServer::report(FrameKind kind, std::uint64_t ticket, int number) {
    if (send(kind, ticket, number) != 0) finish();
}

/// Nobody is left to whoever reaps orphans after this, the program perhaps: those whom a worker has
/// started are reaped after it, since they become this process's children by its end.
void ForkServer::finish() noexcept {
    for (const Child& child : children_) {
        if (child.reaped) continue;
        ::kill(-child.pid, SIGKILL);
        ::kill(child.pid, SIGKILL);  // it may not lead its group yet
    }
    for (const Child& child : children_) {
        if (!child.reaped) wait_for_all(child.pid);
        wait_for_all(-child.pid);
    }
    ::_exit(EXIT_SUCCESS);
}

bool is_seqpacket_socket(int fd) {
    int type = 0;
    socklen_t size = sizeof type;
    return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

bool read_orders(const char* text, Orders& orders) {
    unsigned version = 0;
    long parent = 0;
    int used = 0;
    int found = std::sscanf(text, "weft%u:%d:%ld:%n", &version, &orders.control, &parent, &used);
    if (found != 3 || used == 0 || version != kFrameVersion) return false;
    const char* digits = text + used;
    if (std::strlen(digits) != kSetupDigits) return false;
    auto* bytes = reinterpret_cast<unsigned char*>(&orders.setup);
    for (std::size_t i = 0; i < sizeof orders.setup; ++i) {
        const char* end = digits + 2 * i + 2;
        auto [read, error] = std::from_chars(end - 2, end, bytes[i], 16);
        if (error != std::errc{} || read != end) return false;
    }
    orders.parent = static_cast<pid_t>(parent);
    return is_seqpacket_socket(orders.control);
}

/// The program may have closed some of them; a socket of ours that took such a number would get what
/// is printed.
void fill_standard_descriptors() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (::fcntl(fd, F_GETFD) == -1 && ::open("/dev/null", O_RDWR) < 0) ::_exit(EXIT_FAILURE);
    }
}

[[noreturn]] void become_server(const Orders& orders, detail::ProcessHandler handler) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != orders.parent) ::_exit(EXIT_SUCCESS);
    ::prctl(PR_SET_NAME, "weft-forkserver");
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    // A program that is itself a worker is ended with its group; its server needs a moment longer.
    ::signal(SIGTTOU, SIG_IGN);
    ::setpgid(0, 0);
    ::fcntl(orders.control, F_SETFD, FD_CLOEXEC);
    fill_standard_descriptors();
    set_signals();
    static ForkServer server(orders, handler);
    server.run();
}

/// The program's environment with the orders added.
class ServerEnvironment {
public:
    explicit ServerEnvironment(const WorkerSetup& setup) {
        const std::string name = std::string(kVariable) + "=";
        orders_ = name + std::string(kOrdersBegin) + std::to_string(kFrameVersion) + ":" +
                  std::to_string(kControlFd) + ":" + std::to_string(::getpid()) + ":";
        for (std::byte byte : std::as_bytes(std::span(&setup, 1))) {
            constexpr const char* kDigits = "0123456789abcdef";
            orders_ += kDigits[std::to_integer<unsigned>(byte) >> 4];
            orders_ += kDigits[std::to_integer<unsigned>(byte) & 15];
        }
        for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
            // Of two with one name the first is found, and the server would run main.
            if (!std::string_view(*variable).starts_with(name)) list_.push_back(*variable);
        }
        list_.push_back(orders_.data());
        list_.push_back(nullptr);
    }
    char* const* get() const noexcept { return list_.data(); }

private:
    std::string orders_;
    std::vector<char*> list_;
};

/// Descriptors 0 to 2 are overwritten in the child before these are used there.
int move_above_standard(Descriptor& descriptor) noexcept {
    if (descriptor.get() > STDERR_FILENO) return 0;
    int moved = ::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (moved < 0) return -errno;
    descriptor = Descriptor(moved);
    return 0;
}

int spawn_program(const Descriptor& control, const Descriptor& null_device,
                  char* const* environment, pid_t& pid) noexcept {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (int error = ::posix_spawn_file_actions_init(&actions); error != 0) return -error;
    if (int error = ::posix_spawnattr_init(&attributes); error != 0) {
        ::posix_spawn_file_actions_destroy(&actions);
        return -error;
    }
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    int error =
        ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (error == 0) error = ::posix_spawnattr_setsigdefault(&attributes, &all);
    if (error == 0) error = ::posix_spawnattr_setsigmask(&attributes, &none);
    if (error == 0) {
        error = ::posix_spawn_file_actions_adddup2(&actions, null_device.get(), STDIN_FILENO);
    }
    // The one descriptor that goes along. dup2() onto itself takes the close-on-exec mark off, in
    // glibc and in POSIX.
    if (error == 0) error = ::posix_spawn_file_actions_adddup2(&actions, control.get(), kControlFd);
    if (error == 0) error = ::posix_spawn_file_actions_addclosefrom_np(&actions, kControlFd + 1);
    if (error == 0) {
        // The kernel's name of the file that runs now, even if it has been replaced or removed
        // since.
        error =
            ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, program_argv, environment);
    }
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    return -error;
}

}  // namespace

int spawn_fork_server(const WorkerSetup& setup, SpawnedServer& server) noexcept {
    Descriptor ours;
    Descriptor theirs;
    if (int error = make_socketpair(ours, theirs); error != 0) return error;
    Descriptor null_device(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null_device.open()) return -errno;
    int error = move_above_standard(theirs);
    if (error == 0) error = move_above_standard(null_device);
    if (error != 0) return error;
    pid_t pid = -1;
    try {
        error = spawn_program(theirs, null_device, ServerEnvironment(setup).get(), pid);
    } catch (const std::bad_alloc&) {
        error = -ENOMEM;
    }
    if (error != 0) return error;
    Descriptor pidfd;
    if (error = open_pidfd(pid, pidfd); error != 0) {
        ::kill(pid, SIGKILL);
        while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        return error;
    }
    server.pid = pid;
    server.pidfd = std::move(pidfd);
    server.control = std::move(ours);
    return 0;
}

}  // namespace weft::rt::process

namespace weft::detail {

void enter_main(char** argv, ProcessHandler handler) {
    rt::process::wrapped = true;
    rt::process::program_argv = argv;
    // Before main: this is the only thread, unless a static constructor has started one.
    const char* text = std::getenv(rt::process::kVariable);  // NOLINT(concurrency-mt-unsafe)
    if (text == nullptr) return;
    rt::process::Orders orders;
    bool valid = rt::process::read_orders(text, orders);
    bool for_server = std::string_view(text).starts_with(rt::process::kOrdersBegin);
    ::unsetenv(rt::process::kVariable);  // NOLINT(concurrency-mt-unsafe)
    if (valid) rt::process::become_server(orders, handler);
    // Meant for a server: main must not run once more, beside the one that waits for an answer.
    if (for_server) ::_exit(rt::process::kExitProtocol);
    std::fprintf(stderr, "weft: %s is set, but not by weft: ignored\n", rt::process::kVariable);
}

bool main_is_wrapped() noexcept { return rt::process::wrapped; }

}  // namespace weft::detail
