// From names to addresses, and several sockets on one port.
#include <algorithm>
#include <semaphore>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <netdb.h>

#include "net_support.hpp"

namespace weft::test {

namespace {

/// While it lives each look-up stands still, on its thread, and in the end has no answer.
class HeldLookUps {
public:
    HeldLookUps() { hold = this; }
    ~HeldLookUps() {
        hold = nullptr;
        go_.release(kMost);
        while (left_ != count_) std::this_thread::yield();
    }
    HeldLookUps(const HeldLookUps&) = delete;
    HeldLookUps& operator=(const HeldLookUps&) = delete;
    int count() const { return count_; }
    int held() const { return count_ - left_; }
    void stand_still() {
        ++count_;
        go_.acquire();
        ++left_;
    }

    inline static std::atomic<HeldLookUps*> hold{nullptr};

private:
    static constexpr int kMost = 100;
    std::counting_semaphore<> go_{0};
    std::atomic<int> count_ = 0;
    std::atomic<int> left_ = 0;
};

/// A name that stands for an address of no machine (RFC 5737), and twice for this one.
constexpr const char* kSeveral = "several.test";
constexpr const char* kItsAddresses[] = {"192.0.2.1", "127.0.0.1", "127.0.0.1"};

class ResolveTest : public OnSockets {};
WEFT_TEST_ON_THREADS(ResolveTest);

using Addresses = std::vector<SocketAddress>;

TEST_P(ResolveTest, AnAddressIsItself) {
    run([] {
        EXPECT_EQ(getaddrinfo("127.0.0.1", 80), Addresses{SocketAddress::ip("127.0.0.1", 80)});
        EXPECT_EQ(getaddrinfo("::1", 65535), Addresses{SocketAddress::ip("::1", 65535)});
        EXPECT_THROW(getaddrinfo("127.0.0.1", 65536), std::invalid_argument);
        EXPECT_THROW(getaddrinfo("127.0.0.1", -1), std::invalid_argument);
    });
}

TEST_P(ResolveTest, ANameHasTheAddressesOfTheFamilyThatIsAskedFor) {
    run([] {
        Addresses all = getaddrinfo("localhost", 8080, Family::ipv4);
        ASSERT_FALSE(all.empty());
        for (const SocketAddress& address : all) {
            EXPECT_EQ(address.host().rfind("127.", 0), 0U) << address.to_string();
            EXPECT_EQ(address.port(), 8080);
        }
    });
}

TEST_P(ResolveTest, NoNameIsThisHostAndPassiveAllItsInterfaces) {
    run([] {
        EXPECT_EQ(getaddrinfo("", 80, Family::ipv4), Addresses{SocketAddress::ip("127.0.0.1", 80)});
        EXPECT_EQ(getaddrinfo("", 80, Family::ipv4, Passive::yes),
                  Addresses{SocketAddress::ip("0.0.0.0", 80)});
    });
}

// A part of it is longer than the rules allow: nobody is asked on the network.
TEST_P(ResolveTest, WhatIsNotFoundIsNamed) {
    run([] {
        std::string host = std::string(64, 'x') + ".invalid";
        try {
            getaddrinfo(host, 80);
            FAIL();
        } catch (const ResolveError& e) {
            EXPECT_NE(std::string(e.what()).find(host), std::string::npos) << e.what();
            EXPECT_NE(e.code(), 0);
        }
    });
    EXPECT_THROW(getaddrinfo("localhost", 80), UsageError);
}

// It cannot be ended: a name server may be silent for long.
TEST_P(ResolveTest, ACancelledLookUpIsAbandonedWhileItGoesOn) {
    run([] {
        HeldLookUps held;
        auto cancelled = create_task([] { getaddrinfo("localhost", 80); });
        yield_until([&] { return held.count() == 1; });
        cancelled.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(cancelled); }), "enough");
        auto connecting = create_task([] { open_connection("localhost", 80); });
        yield_until([&] { return held.count() == 2; });
        connecting.cancel();
        EXPECT_THROW(await(connecting), CancelledError);
    });
}

// They have their own threads, which are the process's.
TEST_P(ResolveTest, ManySilentLookUpsHoldUpNoOtherOffloadAndNoEnd) {
    HeldLookUps held;
    run({.cores = 1}, [&] {
        std::vector<Task<void>> look_ups;
        for (int i = 0; i < 40; ++i)
            look_ups.push_back(create_task([] { getaddrinfo("localhost", 80); }));
        yield_until([&] { return held.count() == 16; });
        EXPECT_EQ(to_thread([] { return 5; }), 5);
        EXPECT_EQ(read_file("/proc/self/comm").empty(), false);
        for (auto& task : look_ups) task.cancel();
        for (auto& task : look_ups) EXPECT_THROW(await(task), CancelledError);
    });
    EXPECT_EQ(held.held(), 16);
}

TEST_P(ResolveTest, AServerListensOnThoseOfANamesAddressesThatAreHere) {
    run([] {
        EXPECT_EQ(getaddrinfo(kSeveral, 80).size(), 2U);
        Server server =
            start_server([](TcpStream stream) { stream.write("x"); }, kSeveral, 0, {.shards = 2});
        ASSERT_EQ(server.addresses().size(), 1U);
        EXPECT_EQ(server.addresses().front().host(), "127.0.0.1");
        EXPECT_EQ(open_connection("127.0.0.1", server.port()).read(1), "x");
        EXPECT_EQ(errno_of([] { start_server([](TcpStream) {}, "192.0.2.1", 0); }), EADDRNOTAVAIL);
    });
}

TEST_P(ResolveTest, SocketsThatReuseAPortShareItsConnections) {
    run([] {
        std::atomic<int> served[2] = {0, 0};
        auto count = [&](int i) {
            return [&served, i](TcpStream stream) {
                ++served[i];
                stream.write("x");
            };
        };
        Server first = start_server(count(0), "127.0.0.1", 0, {.reuse_port = true});
        EXPECT_THROW(start_server(count(1), "127.0.0.1", first.port()), std::system_error);
        Server second = start_server(count(1), "127.0.0.1", first.port(), {.reuse_port = true});
        // The kernel deals them out by a hash of both ends: all to one side is 1 in 2^199.
        constexpr int kClients = 200;
        for (int i = 0; i < kClients; ++i)
            EXPECT_EQ(open_connection("127.0.0.1", first.port()).read(1), "x");
        EXPECT_EQ(served[0] + served[1], kClients);
        EXPECT_GT(served[0], 0);
        EXPECT_GT(served[1], 0);
    });
}

TEST_P(ResolveTest, DatagramSocketsReuseAPortWhereBothSaySo) {
    run([] {
        UdpSocket first = create_datagram_endpoint(
            {.local_address = SocketAddress::ip("127.0.0.1", 0), .reuse_port = true});
        EXPECT_THROW(create_datagram_endpoint({.local_address = first.local_address()}),
                     std::system_error);
        UdpSocket second =
            create_datagram_endpoint({.local_address = first.local_address(), .reuse_port = true});
        EXPECT_EQ(second.local_address(), first.local_address());
    });
}

}  // namespace

}  // namespace weft::test

// In libc's place, in this program.
extern "C" int getaddrinfo(const char* __restrict host, const char* __restrict service,
                           const addrinfo* __restrict hints, addrinfo** __restrict result) {
    if (auto* held = weft::test::HeldLookUps::hold.load()) {
        held->stand_still();
        return EAI_AGAIN;
    }
    static const auto libcs =
        reinterpret_cast<decltype(&::getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    if (host == nullptr || std::string_view(host) != weft::test::kSeveral)
        return libcs(host, service, hints, result);
    for (const char* address : weft::test::kItsAddresses) {
        if (int rc = libcs(address, service, hints, result); rc != 0) return rc;
        while (*result != nullptr) result = &(*result)->ai_next;
    }
    return 0;
}
