#include <weft/stream.hpp>
#include <weft/time.hpp>

#include <stdexcept>

#include <sys/socket.h>

#include "detail/connect.hpp"
#include "detail/socket_names.hpp"
#include "detail/stream_state.hpp"

namespace weft {

namespace calls = detail::calls;

namespace detail {

namespace {

class EndOfStream final : public std::error_category {
public:
    const char* name() const noexcept override { return "weft.stream"; }
    std::string message(int) const override { return "end of stream"; }
};

}  // namespace

std::error_code end_of_stream() noexcept {
    static const EndOfStream category;
    return {1, category};
}

void StreamStateDeleter::operator()(StreamState* state) const noexcept { state->disown(); }

}  // namespace detail

// --- reading and writing ------------------------------------------------------------------------------------------

detail::StreamState& Stream::state(const char* what) const {
    lowlevel::require_task(what);
    if (state_ == nullptr)
        throw std::system_error(EBADF, std::generic_category(),
                                std::string(what) + ": the stream is closed");
    return *state_;
}

std::string Stream::read(std::size_t n) { return state("weft::Stream::read").read(n); }
std::string Stream::read() { return state("weft::Stream::read").read_all(); }

std::string Stream::readexactly(std::size_t n) {
    return state("weft::Stream::readexactly").readexactly(n);
}

std::string Stream::readuntil(std::string_view separator) {
    if (separator.empty())
        throw std::invalid_argument("weft::Stream::readuntil: the separator is empty");
    return state("weft::Stream::readuntil").readuntil(separator);
}

std::string Stream::readline() { return state("weft::Stream::readline").readline(); }

std::size_t Stream::read_some(void* data, std::size_t n) {
    return state("weft::Stream::read_some").read_some(data, n);
}

std::size_t Stream::read_parts(detail::Parts& parts) {
    return state("weft::Stream::read_some").read_parts(parts);
}

std::size_t Stream::write_parts(detail::Parts& parts) {
    return state("weft::Stream::write_some").write_parts(parts);
}

bool Stream::at_eof() const noexcept { return state_ == nullptr || state_->at_eof(); }

void Stream::set_limit(std::size_t bytes) {
    if (bytes == 0) throw std::invalid_argument("weft::Stream::set_limit: it must be one at least");
    if (state_ != nullptr) state_->set_limit(bytes);
}

void Stream::write(std::string_view data) { state("weft::Stream::write").write(data); }
void Stream::drain() { lowlevel::checkpoint(); }
void Stream::write_eof() { state("weft::Stream::write_eof").write_eof(); }

std::size_t Stream::sendfile(int file, std::int64_t offset, std::size_t n) {
    return state("weft::Stream::sendfile").send_file(file, offset, n);
}

// --- the end ------------------------------------------------------------------------------------------------------

void Stream::close() noexcept {
    if (state_ != nullptr) state_->close();
}

void Stream::abort() noexcept {
    if (state_ != nullptr) state_->abort();
}

bool Stream::is_closing() const noexcept {
    return state_ == nullptr || !state_->descriptor().is_open();
}

void Stream::wait_closed() { yield(); }

// --- what it stands on --------------------------------------------------------------------------------------------

SocketAddress Stream::local_address() const {
    constexpr const char* kWhat = "weft::Stream::local_address";
    return detail::local_address_of(state(kWhat).descriptor(), kWhat);
}

SocketAddress Stream::peer_address() const {
    constexpr const char* kWhat = "weft::Stream::peer_address";
    return detail::peer_address_of(state(kWhat).descriptor(), kWhat);
}

void Stream::set_option(int level, int name, int value) {
    int rc = state("weft::Stream::set_option").descriptor().once([&](int fd) {
        return calls::set_option(fd, level, name, &value, sizeof value);
    });
    if (rc < 0) throw std::system_error(-rc, std::generic_category(), "weft::Stream::set_option");
}

int Stream::get_option(int level, int name) const {
    int value = 0;
    std::size_t n = sizeof value;
    int rc = state("weft::Stream::get_option").descriptor().once([&](int fd) {
        return calls::get_option(fd, level, name, &value, &n);
    });
    if (rc < 0) throw std::system_error(-rc, std::generic_category(), "weft::Stream::get_option");
    return value;
}

int Stream::fd() const noexcept { return state_ != nullptr ? state_->descriptor().fd() : -1; }

// --- making them --------------------------------------------------------------------------------------------------

namespace {

detail::Descriptor take_over(int fd, const char* what) {
    int type = 0;
    std::size_t n = sizeof type;
    int rc = calls::get_option(fd, SOL_SOCKET, SO_TYPE, &type, &n);
    if (rc == 0 && type != SOCK_STREAM) rc = -ESOCKTNOSUPPORT;
    if (rc == 0) rc = calls::set_nonblocking(fd);
    if (rc < 0) {
        if (rc != -EBADF) calls::close(fd);
        throw std::system_error(-rc, std::generic_category(), what);
    }
    return detail::Descriptor(fd, what);
}

}  // namespace

TcpStream TcpStream::from_fd(int fd, const TcpOptions& options) {
    detail::apply(options, fd);
    return detail::make_stream<TcpStream>(take_over(fd, "weft::TcpStream::from_fd"),
                                          detail::StreamKind::socket);
}

UnixStream UnixStream::from_fd(int fd) {
    return detail::make_stream<UnixStream>(take_over(fd, "weft::UnixStream::from_fd"),
                                           detail::StreamKind::socket);
}

}  // namespace weft
