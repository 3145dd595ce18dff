// Starting and ending a child; see child_process.hpp.
#include "child_process.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weft_compare {
namespace {

constexpr std::chrono::milliseconds kStep{2};

[[noreturn]] void throw_errno(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

std::string read_all(int fd) {
    std::string text;
    std::array<char, 4096> part{};
    for (off_t at = 0;; at = static_cast<off_t>(text.size())) {
        const ssize_t got = ::pread(fd, part.data(), part.size(), at);
        if (got <= 0) return text;
        text.append(part.data(), static_cast<std::size_t>(got));
    }
}

}  // namespace

int make_memory_file(const char* name) {
    const int fd = ::memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) throw_errno("memfd_create");
    return fd;
}

ChildProcess::ChildProcess(std::vector<std::string> arguments, std::optional<int> given_fd)
    : stderr_(make_memory_file("stderr")) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("pipe");
    stdout_ = ends[0];
    const int error = spawn(arguments, given_fd, ends[1]);
    ::close(ends[1]);
    if (error != 0) {
        errno = error;
        throw_errno("posix_spawn");
    }
}

ChildProcess::~ChildProcess() {
    ::kill(-pid_, SIGKILL);
    wait();
    ::close(stdout_);
    ::close(stderr_);
}

std::string ChildProcess::said() const { return read_all(stderr_); }

int ChildProcess::wait() {
    while (!waited_ && ::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    waited_ = true;
    return status_;
}

bool ChildProcess::ended_within(std::chrono::milliseconds limit) {
    for (auto slept = limit - limit; !waited_ && slept < limit; slept += kStep) {
        if (::waitpid(pid_, &status_, WNOHANG) == pid_) waited_ = true;
        if (!waited_) std::this_thread::sleep_for(kStep);
    }
    return waited_;
}

int ChildProcess::spawn(std::vector<std::string>& arguments, std::optional<int> given_fd,
                        int stdout_fd) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, stdout_fd, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&files, stderr_, STDERR_FILENO);
    if (given_fd) ::posix_spawn_file_actions_adddup2(&files, *given_fd, kGivenFd);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    std::string name = "weft-compare";
    std::vector<char*> argv{name.data()};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const int error =
        ::posix_spawn(&pid_, "/proc/self/exe", &files, &attributes, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
    return error;
}

bool end_with_supervisor(std::string_view supervisor) {
    // Asked for after it was killed it would come too late, hence the second look.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    return std::to_string(::getppid()) == supervisor;
}

}  // namespace weft_compare
