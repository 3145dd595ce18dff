#include <weft/address.hpp>
#include <weft/error.hpp>
#include <weft/offload.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace weft {

namespace {

std::uint16_t checked_port(int port) {
    if (port < 0 || port > 65535)
        throw std::invalid_argument("weft: a port is 0 to 65535, not " + std::to_string(port));
    return static_cast<std::uint16_t>(port);
}

template <class Address>
Address as(const void* data) noexcept {
    Address address;
    std::memcpy(&address, data, sizeof address);
    return address;
}

bool parse_ipv6(const std::string& host, sockaddr_in6& out) noexcept {
    std::size_t percent = host.find('%');
    if (inet_pton(AF_INET6, host.substr(0, percent).c_str(), &out.sin6_addr) != 1) return false;
    if (percent == std::string::npos) return true;
    out.sin6_scope_id = if_nametoindex(host.c_str() + percent + 1);
    return out.sin6_scope_id != 0;
}

bool try_ip(const std::string& host, int port, SocketAddress& out) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(checked_port(port));
    if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
        out = SocketAddress(&v4, sizeof v4);
        return true;
    }
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = v4.sin_port;
    if (!parse_ipv6(host, v6)) return false;
    out = SocketAddress(&v6, sizeof v6);
    return true;
}

struct Answer {
    int rc = 0;
    std::vector<SocketAddress> addresses;
};

Answer look_up(const std::string& host, int port, Family family, Passive passive) {
    addrinfo hints{};
    hints.ai_family = family == Family::ipv4   ? AF_INET
                      : family == Family::ipv6 ? AF_INET6
                                               : AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = passive == Passive::yes ? AI_PASSIVE : AI_ADDRCONFIG;
    addrinfo* list = nullptr;
    std::string service = std::to_string(port);
    Answer answer;
    answer.rc =
        ::getaddrinfo(host.empty() ? nullptr : host.c_str(), service.c_str(), &hints, &list);
    if (answer.rc != 0) return answer;
    for (addrinfo* one = list; one != nullptr; one = one->ai_next) {
        SocketAddress address(one->ai_addr, one->ai_addrlen);
        // Two lines of /etc/hosts may say the same.
        if (std::find(answer.addresses.begin(), answer.addresses.end(), address) ==
            answer.addresses.end())
            answer.addresses.push_back(address);
    }
    freeaddrinfo(list);
    return answer;
}

}  // namespace

SocketAddress::SocketAddress(const void* data, std::size_t size) : size_(size) {
    if (size > sizeof data_) throw std::invalid_argument("weft::SocketAddress: it is too long");
    if (size != 0) std::memcpy(data_, data, size);
}

SocketAddress SocketAddress::ip(std::string_view host, int port) {
    SocketAddress address;
    if (!try_ip(std::string(host), port, address))
        throw std::invalid_argument("weft::SocketAddress: '" + std::string(host) +
                                    "' is no IP address");
    return address;
}

SocketAddress SocketAddress::unix_path(std::string_view path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    bool abstract = !path.empty() && path[0] == '\0';
    // A path ends with a zero byte; an abstract name is as long as it is.
    if (path.empty() || path.size() + (abstract ? 0 : 1) > sizeof address.sun_path)
        throw std::invalid_argument("weft::SocketAddress: a Unix path has 1 to " +
                                    std::to_string(sizeof address.sun_path - 1) + " bytes, not " +
                                    std::to_string(path.size()));
    std::memcpy(address.sun_path, path.data(), path.size());
    return SocketAddress(&address,
                         offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
}

int SocketAddress::family() const noexcept {
    return size_ >= sizeof(sa_family_t) ? as<sockaddr>(data_).sa_family : AF_UNSPEC;
}

bool SocketAddress::is_ipv4() const noexcept { return family() == AF_INET; }
bool SocketAddress::is_ipv6() const noexcept { return family() == AF_INET6; }
bool SocketAddress::is_unix() const noexcept { return family() == AF_UNIX; }

std::string SocketAddress::host() const {
    char text[INET6_ADDRSTRLEN] = "";
    if (is_ipv4()) {
        auto address = as<sockaddr_in>(data_);
        inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
        return text;
    }
    if (!is_ipv6()) return "";
    auto address = as<sockaddr_in6>(data_);
    inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text);
    std::string host = text;
    char interface[IF_NAMESIZE];
    if (address.sin6_scope_id != 0 && if_indextoname(address.sin6_scope_id, interface) != nullptr)
        host += std::string("%") + interface;
    return host;
}

int SocketAddress::port() const noexcept {
    // At the same place in both.
    static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
    return is_ipv4() || is_ipv6() ? ntohs(as<sockaddr_in>(data_).sin_port) : 0;
}

SocketAddress SocketAddress::with_port(int port) const {
    if (!is_ipv4() && !is_ipv6())
        throw std::invalid_argument("weft::SocketAddress: " + to_string() + " has no port");
    SocketAddress copy = *this;
    std::uint16_t value = htons(checked_port(port));
    std::memcpy(copy.data_ + offsetof(sockaddr_in, sin_port), &value, sizeof value);
    return copy;
}

std::string SocketAddress::path() const {
    std::size_t begin = offsetof(sockaddr_un, sun_path);
    if (!is_unix() || size_ <= begin) return "";
    const char* path = reinterpret_cast<const char*>(data_) + begin;
    std::size_t n = size_ - begin;
    return path[0] == '\0' ? std::string(path, n) : std::string(path, strnlen(path, n));
}

std::string SocketAddress::to_string() const {
    if (is_ipv4()) return host() + ":" + std::to_string(port());
    if (is_ipv6()) return std::string("[").append(host()).append("]:") + std::to_string(port());
    std::string name = path();
    if (name.empty()) return is_none() ? "none" : "unnamed";
    if (name[0] == '\0') name[0] = '@';
    return name;
}

bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept {
    return a.size_ == b.size_ && std::memcmp(a.data_, b.data_, a.size_) == 0;
}

namespace {

/// A name server that is silent holds a thread for long, and nothing ends that. So these are the process's own: no file nor
/// subprocess waits behind them, and no runtime's end. A child that was forked off has none of the threads, and makes its own.
struct LookUpThreads {
    std::unique_ptr<rt::Threads, detail::ThreadsDeleter> threads =
        detail::make_threads({.most = 16,
                              .idle_time = std::chrono::seconds(1),
                              .name = "weft-dns",
                              .never_destroyed = true});
    pid_t owner = ::getpid();
    LookUpThreads* parents = nullptr;
};

rt::Threads& look_up_threads() {
    static std::atomic<LookUpThreads*> current{
        nullptr};  // never destroyed: its threads may be in there
    LookUpThreads* seen = current.load();
    if (seen != nullptr && seen->owner == ::getpid()) return *seen->threads;
    auto* made = new LookUpThreads;
    made->parents = seen;
    if (current.compare_exchange_strong(seen, made)) return *made->threads;
    delete made;
    return *seen->threads;
}

}  // namespace

std::vector<SocketAddress> getaddrinfo(const std::string& host, int port, Family family,
                                       Passive passive) {
    lowlevel::require_task("getaddrinfo");
    SocketAddress literal;
    if (try_ip(host, port, literal)) return {literal};
    rt::Threads& threads = look_up_threads();
    auto on_them = [&](detail::OffloadCall& call) { detail::run_on_thread(call, threads); };
    Answer answer = detail::call_elsewhere_by_values(on_them, look_up, host, port, family, passive);
    if (answer.rc != 0)
        throw ResolveError("weft: host '" + host + "': " + gai_strerror(answer.rc), answer.rc);
    return std::move(answer.addresses);
}

}  // namespace weft
