#include <weft/detail/child_calls.hpp>

#include <cerrno>
#include <csignal>
#include <iterator>

#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weft::detail::calls {

namespace {

constexpr auto kPidfd = static_cast<idtype_t>(3);  // P_PIDFD, which older headers lack

int open_pidfd(pid_t pid) noexcept {
    // The kernel makes every pidfd close-on-exec.
    long fd = ::syscall(SYS_pidfd_open, pid, 0U);
    return fd < 0 ? -errno : static_cast<int>(fd);
}

int returncode_of(const siginfo_t& info) noexcept {
    return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

int wait_by(int pidfd, int flags, int* returncode) noexcept {
    siginfo_t info{};
    while (::waitid(kPidfd, static_cast<id_t>(pidfd), &info, flags) != 0) {
        if (errno != EINTR) return -errno;
    }
    if (info.si_pid == 0) return -EAGAIN;
    *returncode = returncode_of(info);
    return 0;
}

/// The descriptors for the standard streams, out of the way of the numbers 0 to 2: what is put there first must not be the
/// source of what comes next.
class Sources {
public:
    Sources() noexcept = default;
    ~Sources() {
        for (int fd : copies_)
            if (fd >= 0) ::close(fd);
    }
    Sources(const Sources&) = delete;
    Sources& operator=(const Sources&) = delete;

    int take(const int (&streams)[3]) noexcept {
        for (std::size_t i = 0; i < std::size(streams); ++i) {
            fds_[i] = streams[i];
            if (fds_[i] < 0 || fds_[i] > 2) continue;
            int copy = ::fcntl(fds_[i], F_DUPFD_CLOEXEC, 3);
            if (copy < 0) return -errno;
            fds_[i] = copies_[i] = copy;
        }
        return 0;
    }
    int operator[](std::size_t i) const noexcept { return fds_[i]; }

private:
    int fds_[3] = {kInherited, kInherited, kInherited};
    int copies_[3] = {-1, -1, -1};
};

class Actions {
public:
    Actions() noexcept : error_(::posix_spawn_file_actions_init(&actions_)) {}
    ~Actions() { ::posix_spawn_file_actions_destroy(&actions_); }
    Actions(const Actions&) = delete;
    Actions& operator=(const Actions&) = delete;

    int fill(const SpawnRequest& request, const Sources& sources) noexcept {
        for (int i = 0; i < 3; ++i) add_stream(i, sources[static_cast<std::size_t>(i)]);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
        // Ours are close-on-exec; this is for those that others have made.
        note(::posix_spawn_file_actions_addclosefrom_np(&actions_, 3));
#endif
        if (request.directory != nullptr)
            note(::posix_spawn_file_actions_addchdir_np(&actions_, request.directory));
        return -error_;
    }
    const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

private:
    void note(int error) noexcept {
        if (error_ == 0) error_ = error;
    }
    void add_stream(int number, int source) noexcept {
        if (source == kNullDevice)
            note(::posix_spawn_file_actions_addopen(&actions_, number, "/dev/null", O_RDWR, 0));
        else if (source == kSameAsOut)
            note(::posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, number));
        else if (source != kInherited)
            note(::posix_spawn_file_actions_adddup2(&actions_, source, number));
    }

    posix_spawn_file_actions_t actions_;
    int error_;
};

class Attributes {
public:
    Attributes() noexcept : error_(::posix_spawnattr_init(&attributes_)) {}
    ~Attributes() { ::posix_spawnattr_destroy(&attributes_); }
    Attributes(const Attributes&) = delete;
    Attributes& operator=(const Attributes&) = delete;

    int fill(Session session) noexcept {
        sigset_t none;
        sigset_t reset;
        sigemptyset(&none);
        sigfillset(&reset);
        for (int signal : {SIGHUP, SIGINT, SIGQUIT}) sigdelset(&reset, signal);
        int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
#ifdef POSIX_SPAWN_SETSID
        if (session == Session::fresh) flags |= POSIX_SPAWN_SETSID;
#else
        if (session == Session::fresh) return -ENOSYS;
#endif
        if (error_ == 0) error_ = ::posix_spawnattr_setsigmask(&attributes_, &none);
        if (error_ == 0) error_ = ::posix_spawnattr_setsigdefault(&attributes_, &reset);
        if (error_ == 0)
            error_ = ::posix_spawnattr_setflags(&attributes_, static_cast<short>(flags));
        return -error_;
    }
    const posix_spawnattr_t* get() const noexcept { return &attributes_; }

private:
    posix_spawnattr_t attributes_;
    int error_;
};

/// As execvp(3): what is not there is passed over, and so is what may not be run, unless there is nothing else.
int start_first(const SpawnRequest& request, const Actions& actions, const Attributes& attributes,
                pid_t* pid) noexcept {
    char* const* environment = request.environment != nullptr ? request.environment : ::environ;
    int result = -ENOENT;
    for (const char* const* file = request.files; *file != nullptr; ++file) {
        // A try costs a process; of a relative path only the child knows where it begins.
        if (**file == '/' && ::access(*file, F_OK) != 0 && errno == ENOENT) continue;
        int error = ::posix_spawn(pid, *file, actions.get(), attributes.get(), request.arguments,
                                  environment);
        if (error == 0) return 0;
        if (error == EACCES)
            result = -EACCES;
        else if (error != ENOENT && error != ENOTDIR)
            return -error;
    }
    return result;
}

}  // namespace

int spawn(const SpawnRequest& request, pid_t* pid, int* pidfd) noexcept {
    // A kernel without pidfds, or a process without descriptors, is met before a program has started.
    int spare = open_pidfd(::getpid());
    if (spare < 0) return spare;
    Sources sources;
    Actions actions;
    Attributes attributes;
    int rc = sources.take(request.streams);
    if (rc == 0) rc = actions.fill(request, sources);
    if (rc == 0) rc = attributes.fill(request.session);
    if (rc == 0) rc = start_first(request, actions, attributes, pid);
    ::close(spare);
    if (rc != 0) return rc;
    *pidfd = open_pidfd(*pid);
    if (*pidfd >= 0) return 0;
    kill_and_reap(*pid);
    return *pidfd;
}

int take_end(int pidfd, int* returncode) noexcept {
    return wait_by(pidfd, WEXITED | WNOHANG, returncode);
}

int await_end(int pidfd, int* returncode) noexcept { return wait_by(pidfd, WEXITED, returncode); }

int send_signal(int pidfd, int signal) noexcept {
    return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0U) == 0 ? 0 : -errno;
}

// By its number, which is the child's until it is reaped here.
void kill_and_reap(pid_t pid) noexcept {
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) == -1 && errno == EINTR) {
    }
}

}  // namespace weft::detail::calls
