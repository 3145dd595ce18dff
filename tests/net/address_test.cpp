// Addresses as values.
#include <weft/address.hpp>
#include <weft/detail/buffers.hpp>

#include <array>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace weft::test {

namespace {

TEST(SocketAddress, PrintsWhatItWasMadeOf) {
    EXPECT_EQ(SocketAddress::ip("127.0.0.1", 80).to_string(), "127.0.0.1:80");
    EXPECT_EQ(SocketAddress::ip("::1", 65535).to_string(), "[::1]:65535");
    EXPECT_EQ(SocketAddress::ip("0:0:0:0:0:0:0:2", 0).host(), "::2");
    EXPECT_EQ(SocketAddress::unix_path("/run/x.sock").to_string(), "/run/x.sock");
    EXPECT_EQ(SocketAddress::unix_path(std::string_view("\0abstract", 9)).to_string(), "@abstract");
    EXPECT_EQ(SocketAddress().to_string(), "none");
    EXPECT_TRUE(SocketAddress().is_none());
    EXPECT_TRUE(SocketAddress::ip("10.1.2.3", 1).is_ipv4());
    EXPECT_TRUE(SocketAddress::ip("fe80::1", 1).is_ipv6());
    EXPECT_TRUE(SocketAddress::unix_path("x").is_unix());
    EXPECT_EQ(SocketAddress::unix_path("x").port(), 0);
    EXPECT_EQ(SocketAddress::unix_path("x").host(), "");
}

TEST(SocketAddress, WhatIsNoneIsRefused) {
    for (const char* bad : {"", "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "::g", "1.2.3.4 ",
                            "::1%no-such-interface"})
        EXPECT_THROW(SocketAddress::ip(bad, 1), std::invalid_argument) << bad;
    EXPECT_THROW(SocketAddress::ip("1.2.3.4", -1), std::invalid_argument);
    EXPECT_THROW(SocketAddress::ip("1.2.3.4", 65536), std::invalid_argument);
    EXPECT_THROW(SocketAddress::unix_path(""), std::invalid_argument);
    EXPECT_THROW(SocketAddress::unix_path(std::string(108, 'x')), std::invalid_argument);
    EXPECT_EQ(SocketAddress::unix_path(std::string(107, 'x')).path().size(), 107U);
    char large[256] = {};
    EXPECT_THROW(SocketAddress(large, sizeof large), std::invalid_argument);
}

TEST(SocketAddress, EqualIfFamilyHostAndPortAre) {
    SocketAddress address = SocketAddress::ip("127.0.0.1", 80);
    EXPECT_EQ(address, SocketAddress::ip("127.0.0.1", 80));
    EXPECT_FALSE(address == SocketAddress::ip("127.0.0.1", 81));
    EXPECT_EQ(address, SocketAddress::ip("127.0.0.1", 81).with_port(80));
    EXPECT_FALSE(address == SocketAddress::ip("::1", 80));
    EXPECT_EQ(address, SocketAddress(address.data(), address.size()));
    EXPECT_THROW(SocketAddress::unix_path("x").with_port(1), std::invalid_argument);
}

TEST(Buffers, SequencesAndSingleBuffersAreTakenAndEmptyOnesLeftOut) {
    char a[3];
    char b[5];
    using Span = std::span<char>;
    EXPECT_EQ(detail::Parts(Span(a)).bytes(), 3U);
    EXPECT_EQ(detail::Parts(std::array{Span(a), Span(), Span(b)}).size(), 2U);
    EXPECT_EQ(detail::Parts(std::array{Span(a), Span(b)}).bytes(), 8U);
    EXPECT_TRUE(detail::Parts(Span()).empty());
    EXPECT_EQ(detail::Parts(std::vector<Span>(100, Span(a))).size(), detail::Parts::kMost);
    static_assert(!detail::BufferSequence<int>);
    static_assert(!detail::BufferSequence<std::vector<int>>);
    static_assert(detail::BufferSequence<std::string>);
}

}  // namespace

}  // namespace weft::test
