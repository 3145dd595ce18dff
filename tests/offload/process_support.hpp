// What the tests of the process offload share: seeing processes end, and hearing from workers.
//
// A worker inherits nothing of the test's, so what it has to tell while it runs goes through a FIFO
// that it opens by name. Ends of processes are waited for on pidfds: nothing here looks at a clock
// but to give up.
#pragma once

#include <weft/process.hpp>

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process/os.hpp"

namespace weft::test {

/// Holds on to a process, so that its end can be seen although it is nobody's child here.
class Watched {
public:
    explicit Watched(pid_t pid) {
        EXPECT_EQ(rt::process::open_pidfd(pid, pidfd_), 0) << "process " << pid;
    }
    bool lives() const { return !rt::process::wait_for_end(pidfd_, 0); }
    /// Waits; false after 20 seconds.
    bool ends() const { return rt::process::wait_for_end(pidfd_, 20'000); }
    void kill(int signal) const { EXPECT_EQ(rt::process::kill_by_pidfd(pidfd_, signal), 0); }

private:
    rt::process::Descriptor pidfd_;
};

/// A FIFO in a directory of its own. Workers tell(), the test hears().
class Messenger {
public:
    Messenger() {
        char directory[] = "/tmp/weft-test-XXXXXX";
        EXPECT_NE(::mkdtemp(directory), nullptr);
        directory_ = directory;
        path_ = directory_ + "/fifo";
        EXPECT_EQ(::mkfifo(path_.c_str(), 0600), 0);
        // Both ways, so that neither side waits for the other to open it.
        fifo_ = rt::process::Descriptor(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
    }
    ~Messenger() {
        ::unlink(path_.c_str());
        ::rmdir(directory_.c_str());
    }
    const std::string& path() const { return path_; }

    /// In a worker.
    static void tell(const std::string& path, int number) {
        int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
        if (fd < 0 || ::write(fd, &number, sizeof number) != sizeof number) std::abort();
        ::close(fd);
    }
    /// In a worker: waits for a number that was told there.
    static int listen(const std::string& path) {
        int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
        int number = -1;
        if (::read(fd, &number, sizeof number) != sizeof number) std::abort();
        ::close(fd);
        return number;
    }
    /// In the test: waits for one; -1 after 20 seconds.
    int hear() const {
        pollfd watched{fifo_.get(), POLLIN, 0};
        int number = -1;
        if (::poll(&watched, 1, 20'000) <= 0) return -1;
        if (::read(fifo_.get(), &number, sizeof number) != sizeof number) return -1;
        return number;
    }

private:
    std::string directory_;
    std::string path_;
    rt::process::Descriptor fifo_;
};

/// What the call throws; fails the test if that is no WorkerDied.
inline WorkerDied death_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const WorkerDied& died) {
        return died;
    }
    ADD_FAILURE() << "it returned";
    return WorkerDied("", 0, 0, "");
}

/// How often something has been run, by however many processes: one byte in a file for each.
class Runs {
public:
    Runs() {
        char path[] = "/tmp/weft-test-runs-XXXXXX";
        int fd = ::mkstemp(path);
        EXPECT_GE(fd, 0);
        ::close(fd);
        path_ = path;
    }
    ~Runs() { ::unlink(path_.c_str()); }
    Runs(const Runs&) = delete;
    Runs& operator=(const Runs&) = delete;

    const std::string& path() const { return path_; }
    int count() const { return length_of(path_); }

    /// In a worker: says that it runs; returns how many have said so.
    static int add(const std::string& path) {
        int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
        if (fd < 0 || ::write(fd, "x", 1) != 1) std::abort();
        ::close(fd);
        return length_of(path);
    }

private:
    static int length_of(const std::string& path) {
        struct stat status{};
        EXPECT_EQ(::stat(path.c_str(), &status), 0);
        return static_cast<int>(status.st_size);
    }
    std::string path_;
};

/// In a worker: its end of the socket to the program.
inline int worker_socket() {
    for (int fd = 3; fd < 64; ++fd) {
        int type = 0;
        socklen_t size = sizeof type;
        if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET) {
            return fd;
        }
    }
    std::abort();
}

/// Whether a signal can be sent to a process group by the pidfd of its leader: Linux 6.9.
inline bool kernel_kills_groups() {
    rt::process::Descriptor self;
    if (rt::process::open_pidfd(::getpid(), self) != 0) return false;
    constexpr unsigned kGroup = 1U << 2;
    return ::syscall(SYS_pidfd_send_signal, self.get(), 0, nullptr, kGroup) == 0 || errno != EINVAL;
}

/// In a worker: waits to be killed.
[[noreturn]] inline void hang() {
    for (;;) ::pause();
}

/// Puts something else in the place of the program's standard error for a while.
class StandardError {
public:
    /// -1: it is closed.
    explicit StandardError(int instead) : before_(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) {
        std::fflush(stderr);
        instead < 0 ? ::close(STDERR_FILENO) : ::dup2(instead, STDERR_FILENO);
    }
    ~StandardError() { ::dup2(before_.get(), STDERR_FILENO); }
    StandardError(const StandardError&) = delete;
    StandardError& operator=(const StandardError&) = delete;

private:
    rt::process::Descriptor before_;
};

struct Pipe {
    Pipe() {
        int ends[2];
        EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
        reading = rt::process::Descriptor(ends[0]);
        writing = rt::process::Descriptor(ends[1]);
    }
    /// What lies in it now.
    std::string read_all() const {
        std::string text;
        ::fcntl(reading.get(), F_SETFL, O_NONBLOCK);
        char part[4096];
        for (ssize_t size = 0; (size = ::read(reading.get(), part, sizeof part)) > 0;) {
            text.append(part, static_cast<std::size_t>(size));
        }
        return text;
    }
    void fill() const {
        ::fcntl(writing.get(), F_SETFL, O_NONBLOCK);
        while (::write(writing.get(), "x", 1) == 1) {
        }
        ::fcntl(writing.get(), F_SETFL, 0);
    }
    rt::process::Descriptor reading;
    rt::process::Descriptor writing;
};

}  // namespace weft::test
