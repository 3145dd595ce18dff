// What the tests of sockets share: where they run, and peers that are no weft at all. All speak to loopback alone.
#pragma once

#include <weft/detail/descriptor.hpp>
#include <weft/detail/socket_calls.hpp>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/core_support.hpp"
#include "support/limit.hpp"

namespace weft::test {

inline std::size_t open_descriptors() {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
        ++n;
    return n;
}

/// What errno the std::system_error that f ends with carries; 0: none.
template <class F>
int errno_of(F&& f) {
    try {
        std::forward<F>(f)();
    } catch (const std::system_error& e) {
        return e.code().value();
    }
    return 0;
}

/// UBSan's first look at a type asks the kernel by way of a descriptor, and a test may have none left; later looks do not.
inline void let_sanitizers_know_system_error() {
    std::exception_ptr error =
        std::make_exception_ptr(std::system_error(EMFILE, std::generic_category(), "made"));
    EXPECT_EQ(errno_of([&] { std::rethrow_exception(error); }), EMFILE);
    EXPECT_NE(what_of([&] { std::rethrow_exception(error); }), "");
}

/// While it lives nobody in this process gets a descriptor; those that are open stay open. The limit lies below all of
/// them but the standard three: were it just above the open ones and the gap filled, a descriptor that another thread
/// holds for a moment (glibc names a thread, and finds its stack, by files below /proc) would leave one free.
class NoMoreDescriptors : Limit {
public:
    NoMoreDescriptors() : Limit(RLIMIT_NOFILE, 3) {}
};

/// Real sockets, so no simulation. At the end of each test no descriptor is open that was not before.
class OnSockets : public Everywhere {
protected:
    void SetUp() override {
        Everywhere::SetUp();
        std::signal(
            SIGPIPE,
            SIG_DFL);  // who runs the tests may ignore it, and then no write could fail by it
        let_sanitizers_know_system_error();
        descriptors_before_ = open_descriptors();
    }
    void TearDown() override {
        Everywhere::TearDown();
        EXPECT_EQ(open_descriptors(), descriptors_before_) << "descriptors are left open";
    }

private:
    std::size_t descriptors_before_ = 0;
};

/// n bytes of which each says where it stands, counted from `from` on.
inline std::string pattern(std::size_t n, std::size_t from = 0) {
    std::string bytes(n, '\0');
    for (std::size_t i = 0; i < n; ++i)
        bytes[i] = static_cast<char>(((from + i) * 2654435761U) >> 13);
    return bytes;
}

/// A pipe, each end with the event loop.
struct Pipe {
    detail::Descriptor in;
    detail::Descriptor out;

    Pipe() {
        int fds[2];
        if (int rc = detail::calls::make_pipe(fds); rc < 0)
            throw std::system_error(-rc, std::generic_category());
        in = detail::Descriptor(fds[0], "test");
        out = detail::Descriptor(fds[1], "test");
    }
    ssize_t read(TimePoint deadline = lowlevel::kNever) {
        auto one_byte = [](int fd) {
            char byte;
            return detail::calls::read(fd, &byte, 1);
        };
        return in.retry(detail::Side::in, "test", one_byte, deadline);
    }
    ssize_t write() {
        return out.retry(detail::Side::out, "test",
                         [](int fd) { return detail::calls::write(fd, "x", 1); });
    }
};

/// A lease on a file: an open(2) of it to write takes as long as the test wants.
class Lease {
public:
    explicit Lease(const std::string& path)
        : before_(std::signal(SIGIO, SIG_IGN)),  // by which the kernel tells the holder
          holder_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (holder_ < 0 || ::fcntl(holder_, F_SETLEASE, F_RDLCK) != 0) error_ = errno;
    }
    ~Lease() {
        if (holder_ >= 0) ::close(holder_);
        std::signal(SIGIO, before_);
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    /// errno: this file system has none.
    int error() const { return error_; }
    /// Somebody waits in an open().
    bool is_waited_for() const { return ::fcntl(holder_, F_GETLEASE) == F_UNLCK; }
    void give_back() { ::fcntl(holder_, F_SETLEASE, F_UNLCK); }

private:
    void (*before_)(int);
    int holder_;
    int error_ = 0;
};

/// Two ends of one connection.
struct Pair {
    UnixStream a;
    UnixStream b;

    Pair() {
        int fds[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
            throw std::system_error(errno, std::generic_category(), "socketpair");
        a = UnixStream::from_fd(fds[0]);
        b = UnixStream::from_fd(fds[1]);
    }
};

/// A client made of blocking system calls, in a thread of its own.
class PlainClient {
public:
    explicit PlainClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
            throw std::system_error(errno, std::generic_category(), "connect");
    }
    ~PlainClient() { close(); }
    PlainClient(const PlainClient&) = delete;
    PlainClient& operator=(const PlainClient&) = delete;

    void close() {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }
    /// With a reset.
    void abort() {
        linger at_once{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close();
    }
    void write(const std::string& data) {
        for (std::size_t sent = 0; sent < data.size();) {
            ssize_t n = ::send(fd_, data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
            if (n < 0) throw std::system_error(errno, std::generic_category(), "send");
            sent += static_cast<std::size_t>(n);
        }
    }
    std::string read(std::size_t n) {
        std::string data(n, '\0');
        ssize_t got = ::recv(fd_, data.data(), n, 0);
        if (got < 0) throw std::system_error(errno, std::generic_category(), "recv");
        data.resize(static_cast<std::size_t>(got));
        return data;
    }
    std::string read_all() {
        std::string all;
        for (std::string part; !(part = read(65536)).empty();) all += part;
        return all;
    }
    int fd() const { return fd_; }

private:
    int fd_;
};

}  // namespace weft::test
