// Whole files at once: one way to a thread and back for all that there is to do.
#include <weft/detail/socket_calls.hpp>
#include <weft/file.hpp>
#include <weft/lowlevel.hpp>
#include <weft/offload.hpp>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "detail/file_state.hpp"

namespace weft {

namespace calls = detail::calls;

namespace {

/// A descriptor on a thread.
class OwnedFd {
public:
    explicit OwnedFd(int fd) noexcept : fd_(fd) {}
    ~OwnedFd() { close(); }
    OwnedFd(const OwnedFd&) = delete;
    OwnedFd& operator=(const OwnedFd&) = delete;
    int get() const noexcept { return fd_; }
    int close() noexcept {
        int fd = std::exchange(fd_, -1);
        return fd < 0 ? 0 : calls::close_file(fd);
    }

private:
    int fd_;
};

constexpr const char* kRead = "weft::read_file";
constexpr const char* kWrite = "weft::write_file";

std::string read_whole(const std::stop_token& stop, const std::string& path) {
    OwnedFd fd(detail::checked_file(calls::open_file(path.c_str(), O_RDONLY, 0), kRead, path));
    calls::FileStatus status;
    detail::checked_file(calls::status_of(fd.get(), &status), kRead, path);
    detail::require_file(status, kRead, path);
    std::string all;
    auto hint = static_cast<std::size_t>(status.size > 0 ? status.size : 0);
    detail::checked_file(detail::read_to_end(stop, fd.get(), hint, all), kRead, path);
    return all;
}

void write_bytes(const std::stop_token& stop, int fd, std::string_view data,
                 const std::string& path) {
    ssize_t rc = detail::write_pieces(
        stop, data,
        [&](const char* from, std::size_t n, std::size_t) { return calls::write(fd, from, n); });
    detail::checked_file(rc, kWrite, path);
}

void write_in_place(const std::stop_token& stop, const std::string& path, std::string_view data) {
    OwnedFd fd(detail::checked_file(calls::open_file(path.c_str(), O_WRONLY, 0), kWrite, path));
    write_bytes(stop, fd.get(), data, path);
    detail::checked_file(fd.close(), kWrite, path);
}

std::string directory_of(const std::string& path) {
    std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "./" : path.substr(0, slash + 1);
}

/// A new file in the directory, removed again unless it is kept.
class Scratch {
public:
    Scratch(const std::string& directory, unsigned permissions, const std::string& meant)
        : fd_(make(directory, permissions)) {
        detail::checked_file(fd_.get(), kWrite, meant);
    }
    ~Scratch() {
        if (!kept_) calls::unlink(name_.c_str());
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    OwnedFd& fd() noexcept { return fd_; }
    const std::string& name() const noexcept { return name_; }
    void keep() noexcept { kept_ = true; }

private:
    /// The name says whose it is, so that what a crash has left can be told and removed; one that is there is left alone.
    int make(const std::string& directory, unsigned permissions) {
        static std::atomic<std::uint64_t> made{0};
        int fd = -EEXIST;
        while (fd == -EEXIST) {
            name_ = directory + ".weft-" + std::to_string(::getpid()) + "-" +
                    std::to_string(made.fetch_add(1)) + ".tmp";
            fd = calls::open_file(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL, permissions);
        }
        return fd;
    }

    std::string name_;
    OwnedFd fd_;
    bool kept_ = false;
};

void replace(const std::stop_token& stop, const std::string& path, std::string_view data,
             const WriteFileOptions& options, const calls::FileStatus* old) {
    std::string directory = directory_of(path);
    // Whoever may not read the old file shall not read the new one either, from its first byte on.
    Scratch scratch(directory, old != nullptr ? 0600 : options.permissions, path);
    // Not set-user-ID and its kin: the new file is this process's user's.
    if (old != nullptr)
        detail::checked_file(calls::set_permissions(scratch.fd().get(), old->mode & 0777), kWrite,
                             path);
    write_bytes(stop, scratch.fd().get(), data, path);
    if (options.sync) detail::checked_file(calls::sync(scratch.fd().get()), kWrite, path);
    detail::checked_file(scratch.fd().close(), kWrite, path);
    if (stop.stop_requested()) return;
    detail::checked_file(calls::rename(scratch.name().c_str(), path.c_str()), kWrite, path);
    scratch.keep();
    if (!options.sync) return;
    OwnedFd names(detail::checked_file(
        calls::open_file(directory.c_str(), O_RDONLY | O_DIRECTORY, 0), kWrite, directory));
    detail::checked_file(calls::sync(names.get()), kWrite, directory);
}

void write_whole(const std::stop_token& stop, const std::string& path, std::string_view data,
                 const WriteFileOptions& options) {
    calls::FileStatus old;
    int rc = calls::status_of(path.c_str(), &old);
    if (rc == -ENOENT) {
        // A link that leads nowhere yet: realpath() has no answer, and a rename would put a file in the link's place.
        char target[1];
        if (::readlink(path.c_str(), target, sizeof target) >= 0)
            detail::fail_file(-ENOENT, kWrite, path);
        return replace(stop, path, data, options, nullptr);
    }
    detail::checked_file(rc, kWrite, path);
    if (S_ISDIR(old.mode)) detail::fail_file(-EISDIR, kWrite, path);
    detail::require_file(old, kWrite, path);
    if (!S_ISREG(old.mode)) return write_in_place(stop, path, data);
    std::string target;
    detail::checked_file(calls::real_path(path.c_str(), &target), kWrite, path);
    replace(stop, target, data, options, &old);
}

}  // namespace

std::string read_file(const std::string& path) {
    lowlevel::require_task(kRead);
    detail::require_path(path, kRead);
    return to_thread([&](const std::stop_token& stop) { return read_whole(stop, path); });
}

void write_file(const std::string& path, std::string_view data, const WriteFileOptions& options) {
    lowlevel::require_task(kWrite);
    detail::require_path(path, kWrite);
    to_thread([&](const std::stop_token& stop) { write_whole(stop, path, data, options); });
}

}  // namespace weft
