#include <weft/detail/offload_call.hpp>
#include <weft/detail/socket_calls.hpp>
#include <weft/file.hpp>
#include <weft/offload.hpp>
#include <weft/time.hpp>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>

#include "detail/file_state.hpp"

namespace weft {

namespace calls = detail::calls;

namespace detail {

void fail_file(std::int64_t error, const char* what, const std::string& path) {
    throw std::system_error(static_cast<int>(-error), std::generic_category(),
                            std::string(what) + ": " + path);
}

void require_path(const std::string& path, const char* what) {
    if (path.find('\0') != std::string::npos)
        throw std::invalid_argument(std::string(what) + ": a null byte in the path");
}

void require_file(const calls::FileStatus& status, const char* what, const std::string& path) {
    if (S_ISFIFO(status.mode) || S_ISSOCK(status.mode))
        throw std::invalid_argument(std::string(what) +
                                    ": a FIFO or socket, which weft::PipeStream is for: " + path);
}

ssize_t read_to_end(const std::stop_token& stop, int fd, std::size_t hint, std::string& all) {
    // One more than there should be: the read that fills it not says that the end is there.
    std::size_t room = std::max(hint + 1, std::size_t{4096});
    std::size_t filled = all.size();
    for (;;) {
        all.resize(filled + room);
        ssize_t rc = read_pieces(
            stop, all.data() + filled, room,
            [&](char* data, std::size_t n, std::size_t) { return calls::read(fd, data, n); });
        if (rc < 0) return rc;
        filled += static_cast<std::size_t>(rc);
        if (static_cast<std::size_t>(rc) < room) break;
        room = filled;
    }
    all.resize(filled);
    return 0;
}

void FileStateDeleter::operator()(FileState* state) const noexcept {
    state->close();
    delete state;
}

// --- the descriptor -----------------------------------------------------------------------------------------------

int FileState::close() noexcept { return word_.fetch_or(kClosed) == 0 ? close_now() : 0; }

namespace {

struct CloseCall : OffloadCall {
    explicit CloseCall(int descriptor) : fd(descriptor) {
        may_queue = false;
        run = [](OffloadCall& call) noexcept {
            auto& self = static_cast<CloseCall&>(call);
            self.result = calls::close_file(self.fd);
        };
    }
    int fd;
    int result = 0;
};

}  // namespace

// The last close of a file that has no name any more frees its blocks, which takes time, and NFS writes then: so it is made
// on a thread too. Never given up: who is cancelled has closed it. Nor does it queue: those who have the threads may wait for
// whoever closes, so with none free it is made here.
int FileState::close_now() const noexcept {
    CloseCall call(fd_);
    if (lowlevel::in_task()) {
        try {
            ShieldScope shield;
            run_on_thread(call);
        } catch (...) {
            // Not begun. With the call begun, there is nothing that throws.
        }
    }
    return call.ran ? call.result : calls::close_file(fd_);
}

FileState::Use::Use(FileState& state, const char* what) : state_(state) {
    std::uint32_t seen = state_.word_.load();
    do {
        if ((seen & kClosed) != 0)
            throw UsageError(std::string(what) + ": the file is closed: " + state_.path_);
    } while (!state_.word_.compare_exchange_weak(seen, seen + 1));
}

FileState::Use::~Use() {
    if (state_.word_.fetch_sub(1) == (kClosed | 1)) state_.close_now();
}

}  // namespace detail

namespace {

/// The same for those who use the descriptor's own place: one after the other.
class Turn {
public:
    Turn(detail::FileState& state, const char* what) : use_(state, what), guard_(state.turn()) {}
    int fd() const noexcept { return use_.fd(); }

private:
    detail::FileState::Use use_;
    std::lock_guard<Lock> guard_;
};

std::string read_some(int fd, std::size_t n, const char* what, const std::string& path) {
    std::string bytes(n, '\0');
    ssize_t rc = to_thread([&](const std::stop_token& stop) {
        return detail::read_pieces(
            stop, bytes.data(), n,
            [&](char* data, std::size_t most, std::size_t) { return calls::read(fd, data, most); });
    });
    bytes.resize(static_cast<std::size_t>(detail::checked_file(rc, what, path)));
    return bytes;
}

ssize_t read_all_at(int fd, std::uint64_t offset, char* data, std::size_t n) {
    return to_thread([&](const std::stop_token& stop) {
        return detail::read_pieces(
            stop, data, n, [&](char* to, std::size_t most, std::size_t done) {
                return calls::read_at(fd, to, most, static_cast<std::int64_t>(offset + done));
            });
    });
}

int flags_of(const FileOptions& options) {
    bool writes = options.write || options.append;
    int flags = !writes ? O_RDONLY : options.read ? O_RDWR : O_WRONLY;
    if (options.append) flags |= O_APPEND;
    if (options.create || options.exclusive) flags |= O_CREAT;
    if (options.exclusive) flags |= O_EXCL;
    if (options.truncate) flags |= O_TRUNC;
    return flags;
}

void require_sense(const FileOptions& options) {
    auto refuse = [](const char* why) {
        throw std::invalid_argument(std::string("weft::open_file: ") + why);
    };
    if (!options.read && !options.write && !options.append)
        refuse("neither to read, to write nor to append");
    if ((options.create || options.exclusive) && !options.write && !options.append)
        refuse("to create a file needs write or append");
    if (options.truncate && !options.write) refuse("to truncate a file needs write");
    if (options.truncate && options.append) refuse("to truncate and to append contradict");
}

}  // namespace

// --- the file -----------------------------------------------------------------------------------------------------

detail::FileState& File::state(const char* what) const {
    lowlevel::require_task(what);
    if (state_ == nullptr) throw UsageError(std::string(what) + ": the file is closed");
    return *state_;
}

std::size_t File::read_at(std::uint64_t offset, std::span<std::byte> into) const {
    constexpr const char* kWhat = "weft::File::read_at";
    detail::FileState& file = state(kWhat);
    detail::FileState::Use use(file, kWhat);
    ssize_t rc = read_all_at(use.fd(), offset, reinterpret_cast<char*>(into.data()), into.size());
    return static_cast<std::size_t>(detail::checked_file(rc, kWhat, file.path()));
}

std::string File::read_at(std::uint64_t offset, std::size_t n) const {
    std::string bytes(n, '\0');
    bytes.resize(read_at(offset, std::as_writable_bytes(std::span(bytes))));
    return bytes;
}

void File::write_at(std::uint64_t offset, std::string_view data) {
    constexpr const char* kWhat = "weft::File::write_at";
    detail::FileState& file = state(kWhat);
    // Linux would append, whatever the offset.
    if (file.appends())
        throw UsageError(std::string(kWhat) +
                         ": opened to append, it writes nowhere else: " + file.path());
    detail::FileState::Use use(file, kWhat);
    ssize_t rc = to_thread([&](const std::stop_token& stop) {
        return detail::write_pieces(
            stop, data, [&](const char* from, std::size_t n, std::size_t done) {
                return calls::write_at(use.fd(), from, n, static_cast<std::int64_t>(offset + done));
            });
    });
    detail::checked_file(rc, kWhat, file.path());
}

std::string File::read(std::size_t n) {
    constexpr const char* kWhat = "weft::File::read";
    detail::FileState& file = state(kWhat);
    Turn turn(file, kWhat);
    return read_some(turn.fd(), n, kWhat, file.path());
}

std::string File::read() {
    constexpr const char* kWhat = "weft::File::read";
    detail::FileState& file = state(kWhat);
    Turn turn(file, kWhat);
    std::string all;
    ssize_t rc = to_thread([&](const std::stop_token& stop) -> ssize_t {
        calls::FileStatus status;
        int found = calls::status_of(turn.fd(), &status);
        if (found < 0) return found;
        std::int64_t left =
            status.size - std::max(calls::seek(turn.fd(), 0, SEEK_CUR), std::int64_t{0});
        auto hint = static_cast<std::size_t>(std::max(left, std::int64_t{0}));
        return detail::read_to_end(stop, turn.fd(), hint, all);
    });
    detail::checked_file(rc, kWhat, file.path());
    return all;
}

void File::write(std::string_view data) {
    constexpr const char* kWhat = "weft::File::write";
    detail::FileState& file = state(kWhat);
    Turn turn(file, kWhat);
    ssize_t rc = to_thread([&](const std::stop_token& stop) {
        return detail::write_pieces(stop, data, [&](const char* from, std::size_t n, std::size_t) {
            return calls::write(turn.fd(), from, n);
        });
    });
    detail::checked_file(rc, kWhat, file.path());
}

void File::seek(std::uint64_t offset) {
    constexpr const char* kWhat = "weft::File::seek";
    detail::FileState& file = state(kWhat);
    Turn turn(file, kWhat);
    std::int64_t rc = to_thread(
        [&] { return calls::seek(turn.fd(), static_cast<std::int64_t>(offset), SEEK_SET); });
    detail::checked_file(rc, kWhat, file.path());
}

std::uint64_t File::size() const {
    constexpr const char* kWhat = "weft::File::size";
    detail::FileState& file = state(kWhat);
    detail::FileState::Use use(file, kWhat);
    calls::FileStatus status;
    int rc = to_thread([&] { return calls::status_of(use.fd(), &status); });
    detail::checked_file(rc, kWhat, file.path());
    return static_cast<std::uint64_t>(status.size);
}

void File::truncate(std::uint64_t size) {
    constexpr const char* kWhat = "weft::File::truncate";
    detail::FileState& file = state(kWhat);
    detail::FileState::Use use(file, kWhat);
    int rc = to_thread([&] { return calls::truncate(use.fd(), static_cast<std::int64_t>(size)); });
    detail::checked_file(rc, kWhat, file.path());
}

void File::sync() {
    constexpr const char* kWhat = "weft::File::sync";
    detail::FileState& file = state(kWhat);
    detail::FileState::Use use(file, kWhat);
    int rc = to_thread([&] { return calls::sync(use.fd()); });
    detail::checked_file(rc, kWhat, file.path());
}

void File::close() {
    if (state_ == nullptr) return;
    detail::checked_file(state_->close(), "weft::File::close", state_->path());
}

bool File::is_closed() const noexcept { return state_ == nullptr || state_->is_closed(); }

int File::fileno() const noexcept { return state_ != nullptr ? state_->fd() : -1; }

const std::string& File::path() const noexcept {
    static const std::string none;
    return state_ != nullptr ? state_->path() : none;
}

File open_file(const std::string& path, const FileOptions& options) {
    constexpr const char* kWhat = "weft::open_file";
    lowlevel::require_task(kWhat);
    require_sense(options);
    detail::require_path(path, kWhat);
    int error = 0;
    calls::FileStatus status;
    // Made on the thread: a cancel meanwhile drops it, and with it the descriptor.
    File file = to_thread([&] {
        int fd = calls::open_file(path.c_str(), flags_of(options), options.permissions);
        if (fd < 0) {
            error = fd;
            return File();
        }
        File opened(detail::FileStatePtr(new detail::FileState(fd, path, options.append)));
        error = calls::status_of(fd, &status);
        if (error == 0 && S_ISDIR(status.mode)) error = -EISDIR;
        return opened;
    });
    if (error < 0) detail::fail_file(error, kWhat, path);
    detail::require_file(status, kWhat, path);
    return file;
}

}  // namespace weft
