// Where a socket is: an IPv4, IPv6 or Unix address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

class SocketAddress {
public:
    /// None: is_none() is true.
    SocketAddress() noexcept = default;
    /// From the kernel's form (sockaddr_in, sockaddr_in6, sockaddr_un). std::invalid_argument: longer than any of them.
    SocketAddress(const void* data, std::size_t size);

    /// From "127.0.0.1", "::1" or "fe80::1%eth0"; nothing is looked up. std::invalid_argument: it is no such address, or
    /// the port is out of range.
    static SocketAddress ip(std::string_view host, int port);
    /// A path; one that begins with a zero byte is in the abstract namespace. std::invalid_argument: too long, or empty.
    static SocketAddress unix_path(std::string_view path);

    bool is_none() const noexcept { return size_ == 0; }
    bool is_ipv4() const noexcept;
    bool is_ipv6() const noexcept;
    bool is_unix() const noexcept;
    int family() const noexcept;

    /// "127.0.0.1", "::1"; "" if it is no IP address.
    std::string host() const;
    /// 0 if it is no IP address.
    int port() const noexcept;
    SocketAddress with_port(int port) const;
    /// "" if it is no Unix address, or an unnamed one.
    std::string path() const;
    /// "127.0.0.1:80", "[::1]:80", "/run/x.sock", "@abstract", "unnamed".
    std::string to_string() const;

    const void* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    friend bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept;

private:
    alignas(8) unsigned char data_[128] = {};
    std::size_t size_ = 0;
};

enum class Family : std::uint8_t { any, ipv4, ipv6 };
/// For sockets that listen.
enum class Passive : std::uint8_t { no, yes };

/// The addresses of a host, in the order in which the system wants them tried, for connections (asyncio's
/// loop.getaddrinfo). "" is this host: with `passive`, all its interfaces.
///
/// An IP address is not looked up; else getaddrinfo(3) runs on one of 16 threads that the process has for
/// look-ups. Cancelled there, it is abandoned, and no runtime's end waits for it.
/// ResolveError: no such host, or no answer; std::invalid_argument: the port is out of range.
std::vector<SocketAddress> getaddrinfo(const std::string& host, int port,
                                       Family family = Family::any, Passive passive = Passive::no);

}  // namespace weft
