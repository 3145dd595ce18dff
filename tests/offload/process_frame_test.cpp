// Frames: what was sent is what is received, and everything else is recognised as such.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "process/crc32c.hpp"
#include "process/frame.hpp"
#include "process/memory_file.hpp"
#include "process/shared_memory.hpp"

namespace {

using namespace weft::rt::process;
using weft::detail::kSharedMemoriesMax;
using weft::detail::make_shared_memory;
using weft::detail::map_shared_memory;
using weft::detail::seal_shared_memory;
using weft::detail::shared_memory_bytes;
using weft::detail::SharedMemoryList;
using weft::detail::SharedMemoryRef;

constexpr std::size_t kLimit = 1 << 20;

std::span<const std::byte> as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

std::vector<std::byte> packet_of(const OutgoingFrame& frame) {
    auto header = std::as_bytes(std::span(&frame.header, 1));
    std::vector<std::byte> packet(header.begin(), header.end());
    auto sizes = std::as_bytes(std::span(frame.memory_sizes).first(frame.header.memories));
    packet.insert(packet.end(), sizes.begin(), sizes.end());
    packet.insert(packet.end(), frame.body.begin(), frame.body.end());
    return packet;
}

std::vector<std::byte> example_packet() {
    OutgoingFrame frame;
    EXPECT_EQ(make_frame(FrameKind::value, 7, as_bytes("the bytes of a result"), frame), 0);
    return packet_of(frame);
}

FrameError check(std::span<const std::byte> packet) {
    FrameHeader header;
    return check_packet(packet, kLimit, header);
}

/// Two ends, and a buffer as the pool has it.
struct Pipe {
    Descriptor near;
    Descriptor far;
    std::vector<std::byte> buffer = std::vector<std::byte>(kPacketBytesMax + 1);

    Pipe() { EXPECT_EQ(make_socketpair(near, far), 0); }
    IncomingFrame receive() { return receive_frame(far.get(), buffer, kLimit, Blocking::no); }
    void send_raw(std::span<const std::byte> packet, std::vector<int> passed = {}) {
        const iovec part{const_cast<std::byte*>(packet.data()), packet.size()};
        ASSERT_EQ(send_packet(near.get(), std::span(&part, 1), passed, Blocking::no), 0);
    }
};

TEST(Crc32c, IsTheOneOfTheStandard) {
    EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283U);
    EXPECT_EQ(crc32c_by_table(as_bytes("123456789")), 0xE3069283U);
}

TEST(Crc32c, InstructionAndTableAgreeOnEachLengthAndInParts) {
    std::mt19937 random(1);
    std::vector<std::byte> bytes(100);
    for (std::byte& byte : bytes) byte = std::byte(random());
    for (std::size_t size = 0; size <= bytes.size(); ++size) {
        auto part = std::span(bytes).first(size);
        EXPECT_EQ(crc32c(part), crc32c_by_table(part)) << size;
        EXPECT_EQ(crc32c(part.subspan(size / 2), crc32c(part.first(size / 2))), crc32c(part));
    }
}

TEST(Frame, ArrivesAsItWasSent) {
    Pipe pipe;
    OutgoingFrame frame;
    ASSERT_EQ(make_frame(FrameKind::call, 42, as_bytes("body"), frame), 0);
    ASSERT_EQ(send_frame(pipe.near.get(), frame, Blocking::no), 0);
    IncomingFrame got = pipe.receive();
    ASSERT_EQ(got.bad, FrameError::none);
    EXPECT_EQ(got.header.kind, FrameKind::call);
    EXPECT_EQ(got.header.id, 42U);
    EXPECT_EQ(std::memcmp(got.body.bytes().data(), "body", 4), 0);
    EXPECT_EQ(got.body.bytes().size(), 4U);
}

TEST(Frame, BodiesOnBothSidesOfTheInlineLimitArriveWhole) {
    for (std::size_t size : {std::size_t{0}, kInlineBytesMax, kInlineBytesMax + 1, kLimit}) {
        Pipe pipe;
        std::vector<std::byte> body(size);
        for (std::size_t i = 0; i < size; ++i) body[i] = std::byte(i * 7);
        OutgoingFrame frame;
        ASSERT_EQ(make_frame(FrameKind::value, 1, body, frame), 0);
        EXPECT_EQ(frame.memfd.open(), size > kInlineBytesMax);
        ASSERT_EQ(send_frame(pipe.near.get(), frame, Blocking::no), 0);
        IncomingFrame got = pipe.receive();
        ASSERT_EQ(got.bad, FrameError::none) << size;
        EXPECT_TRUE(std::ranges::equal(got.body.bytes(), body));
    }
}

TEST(Frame, GoesByMemoryFileWhereTheSocketBufferIsTooSmall) {
    Pipe pipe;
    int small = 4096;
    ::setsockopt(pipe.near.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    std::vector<std::byte> body(kInlineBytesMax, std::byte{9});
    OutgoingFrame frame;
    ASSERT_EQ(make_frame(FrameKind::value, 1, body, frame), 0);
    ASSERT_EQ(send_frame(pipe.near.get(), frame, Blocking::no), 0);
    EXPECT_TRUE(frame.memfd.open());
    IncomingFrame got = pipe.receive();
    ASSERT_EQ(got.bad, FrameError::none);
    EXPECT_TRUE(std::ranges::equal(got.body.bytes(), body));
}

TEST(Frame, EachSingleChangedBitIsNoticed) {
    const auto packet = example_packet();
    ASSERT_EQ(check(packet), FrameError::none);
    for (std::size_t bit = 0; bit < packet.size() * 8; ++bit) {
        auto changed = packet;
        changed[bit / 8] ^= std::byte(1U << (bit % 8));
        EXPECT_NE(check(changed), FrameError::none) << "bit " << bit;
    }
}

TEST(Frame, EachShorterOrLongerPacketIsNoticed) {
    auto packet = example_packet();
    for (std::size_t size = 0; size < packet.size(); ++size) {
        EXPECT_NE(check(std::span(packet).first(size)), FrameError::none) << size;
    }
    packet.push_back(std::byte{0});
    EXPECT_NE(check(packet), FrameError::none);
}

TEST(Frame, GarbageIsNoFrame) {
    std::mt19937 random(3);
    for (int round = 0; round < 100'000; ++round) {
        std::vector<std::byte> garbage(random() % 128);
        for (std::byte& byte : garbage) byte = std::byte(random());
        // The first bytes right, so that more than the first look is tried.
        if (garbage.size() >= 6 && random() % 2 == 0) {
            std::memcpy(garbage.data(), &kFrameMagic, sizeof kFrameMagic);
            std::memcpy(garbage.data() + 4, &kFrameVersion, sizeof kFrameVersion);
        }
        EXPECT_NE(check(garbage), FrameError::none);
    }
}

/// A header with a right checksum and something wrong in it: what the checksum cannot find.
FrameError check_with(void (*spoil)(FrameHeader&), std::size_t body_bytes = 0) {
    FrameHeader header;
    header.magic = kFrameMagic;
    header.version = kFrameVersion;
    header.kind = FrameKind::value;
    header.length = body_bytes;
    spoil(header);
    header.crc = 0;
    std::vector<std::byte> packet(sizeof header + body_bytes);
    std::memcpy(packet.data(), &header, sizeof header);
    header.crc = crc32c(packet);
    std::memcpy(packet.data(), &header, sizeof header);
    return check(packet);
}

TEST(Frame, WhatAChecksumCannotFindIsFoundByLooking) {
    EXPECT_EQ(check_with([](FrameHeader&) {}), FrameError::none);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.magic = 1; }), FrameError::bad_magic);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.version = kFrameVersion + 1; }),
              FrameError::bad_version);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.kind = FrameKind{0}; }), FrameError::bad_kind);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.kind = FrameKind{10}; }), FrameError::bad_kind);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.length = 1; }), FrameError::bad_length);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.length = 8; }, 9), FrameError::bad_length);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.in_memfd = 1; }), FrameError::bad_length);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.length = kLimit + 1, h.in_memfd = 1; }),
              FrameError::bad_length);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.in_memfd = 2; }), FrameError::bad_checksum);
    // The sizes of memories stand before the body, and are no part of it.
    EXPECT_EQ(check_with([](FrameHeader& h) { h.memories = 1, h.length = 0; }, 8),
              FrameError::none);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.memories = 1, h.length = 0; }, 7),
              FrameError::bad_length);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.memories = 1; }, 8), FrameError::bad_length);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.memories = 2, h.length = 0; }, 8),
              FrameError::bad_length);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.memories = 16, h.length = 0; }, 128),
              FrameError::none);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.memories = 17, h.length = 0; }, 136),
              FrameError::bad_length);
    EXPECT_EQ(check_with([](FrameHeader& h) { h.memories = ~0U, h.length = 0; }, 136),
              FrameError::bad_length);
    for (FrameKind kind :
         {FrameKind::hello, FrameKind::spawn, FrameKind::spawned, FrameKind::spawn_failed,
          FrameKind::exited, FrameKind::exception, FrameKind::refused}) {
        static FrameKind spoiled;
        spoiled = kind;
        EXPECT_EQ(
            check_with([](FrameHeader& h) { h.memories = 1, h.length = 0, h.kind = spoiled; }, 8),
            FrameError::bad_kind);
    }
}

/// The header of a frame whose body lies in a memory file, without that file.
std::vector<std::byte> large_header(std::size_t size) {
    std::vector<std::byte> body(size);
    OutgoingFrame frame;
    EXPECT_EQ(make_frame(FrameKind::value, 1, body, frame), 0);
    return packet_of(frame);
}

TEST(Frame, AMemoryFileThatIsNotSealedIsRefused) {
    Pipe pipe;
    const std::size_t size = kInlineBytesMax + 1;
    Descriptor memfd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(::fallocate(memfd.get(), 0, 0, size), 0);
    pipe.send_raw(large_header(size), {memfd.get()});
    EXPECT_EQ(pipe.receive().bad, FrameError::not_sealed);
}

TEST(Frame, AMemoryFileOfAnotherSizeIsRefused) {
    Pipe pipe;
    Descriptor memfd;
    std::vector<std::byte> body(kInlineBytesMax);
    ASSERT_EQ(make_sealed_memfd(body, memfd), 0);
    pipe.send_raw(large_header(kInlineBytesMax + 1), {memfd.get()});
    EXPECT_EQ(pipe.receive().bad, FrameError::not_sealed);
}

TEST(Frame, ADescriptorThatIsNoMemoryFileIsRefused) {
    Pipe pipe;
    Descriptor null_device(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    pipe.send_raw(large_header(kInlineBytesMax + 1), {null_device.get()});
    EXPECT_EQ(pipe.receive().bad, FrameError::not_sealed);
}

TEST(Frame, AMissingOrAStrayDescriptorIsRefused) {
    Pipe pipe;
    pipe.send_raw(large_header(kInlineBytesMax + 1));
    EXPECT_EQ(pipe.receive().bad, FrameError::missing_descriptor);
    Descriptor null_device(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    pipe.send_raw(example_packet(), {null_device.get()});
    EXPECT_EQ(pipe.receive().bad, FrameError::stray_descriptor);
}

// --- shared memories ----------------------------------------------------------------------------

/// Sealed ones of these sizes, the number's byte all over.
SharedMemoryList memories_of(const std::vector<std::size_t>& sizes) {
    SharedMemoryList list;
    for (std::size_t size : sizes) {
        SharedMemoryRef& memory = list.items[list.count];
        EXPECT_EQ(make_shared_memory(size, memory), 0);
        std::ranges::fill(shared_memory_bytes(*memory), std::byte(list.count));
        EXPECT_EQ(seal_shared_memory(*memory), 0);
        ++list.count;
    }
    return list;
}

int count_descriptors() {
    int open = 0;
    for (int fd = 0; fd < 256; ++fd) open += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
    return open;
}

TEST(Frame, MemoriesArriveInTheirOrderBesideABodyOfAnySize) {
    for (std::size_t body_size : {std::size_t{0}, std::size_t{10}, kInlineBytesMax + 1}) {
        Pipe pipe;
        int before = count_descriptors();
        {
            SharedMemoryList sent = memories_of({4096, 1, 100'000});
            std::vector<std::byte> body(body_size, std::byte{7});
            OutgoingFrame frame;
            ASSERT_EQ(make_frame(FrameKind::call, 1, body, frame, &sent), 0);
            // Twice: sending uses nothing up.
            for (int round = 0; round < 2; ++round) {
                ASSERT_EQ(send_frame(pipe.near.get(), frame, Blocking::no), 0);
                IncomingFrame got = pipe.receive();
                ASSERT_EQ(got.bad, FrameError::none);
                EXPECT_TRUE(std::ranges::equal(got.body.bytes(), body));
                ASSERT_EQ(got.memories.count(), 3U);
                for (std::size_t number = 0; number < 3; ++number) {
                    SharedMemoryRef memory;
                    ASSERT_EQ(map_shared_memory(got.memories.take(number),
                                                got.memories.size(number), memory),
                              0);
                    EXPECT_TRUE(std::ranges::equal(shared_memory_bytes(*memory),
                                                   shared_memory_bytes(*sent.items[number])));
                }
            }
        }
        EXPECT_EQ(count_descriptors(), before);
    }
}

TEST(Frame, AsManyMemoriesAsAMessageTakesGoBesideALargeBodyThroughASmallSocketBuffer) {
    Pipe pipe;
    int small = 4096;
    ::setsockopt(pipe.near.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    SharedMemoryList sent = memories_of(std::vector<std::size_t>(kSharedMemoriesMax, 10));
    std::vector<std::byte> body(kInlineBytesMax, std::byte{9});
    OutgoingFrame frame;
    ASSERT_EQ(make_frame(FrameKind::value, 1, body, frame, &sent), 0);
    ASSERT_EQ(send_frame(pipe.near.get(), frame, Blocking::no), 0);
    EXPECT_TRUE(frame.memfd.open());
    IncomingFrame got = pipe.receive();
    ASSERT_EQ(got.bad, FrameError::none);
    EXPECT_TRUE(std::ranges::equal(got.body.bytes(), body));
    EXPECT_EQ(got.memories.count(), kSharedMemoriesMax);
}

TEST(Frame, AChangedSizeOfAMemoryIsNoticed) {
    SharedMemoryList sent = memories_of({4096});
    OutgoingFrame frame;
    ASSERT_EQ(make_frame(FrameKind::value, 1, as_bytes("body"), frame, &sent), 0);
    const auto packet = packet_of(frame);
    ASSERT_EQ(check(packet), FrameError::none);
    for (std::size_t bit = 0; bit < packet.size() * 8; ++bit) {
        auto changed = packet;
        changed[bit / 8] ^= std::byte(1U << (bit % 8));
        EXPECT_NE(check(changed), FrameError::none) << "bit " << bit;
    }
}

/// What becomes of a packet that announces two memories of 4096 bytes, with these beside it.
FrameError verdict_on(const std::vector<int>& passed) {
    Pipe pipe;
    SharedMemoryList announced = memories_of({4096, 4096});
    OutgoingFrame frame;
    EXPECT_EQ(make_frame(FrameKind::value, 1, as_bytes("body"), frame, &announced), 0);
    int before = count_descriptors();
    pipe.send_raw(packet_of(frame), passed);
    IncomingFrame got = pipe.receive();
    if (got.bad != FrameError::none) {
        EXPECT_EQ(got.memories.count(), 0U);
        EXPECT_EQ(count_descriptors(), before) << "all that came is closed";
    }
    return got.bad;
}

TEST(Frame, MemoriesThatAreNotWhatItsHeaderSaysAreRefusedAndClosed) {
    SharedMemoryList good = memories_of({4096, 4096, 4096});
    std::vector<int> fds;
    for (std::size_t i = 0; i < 3; ++i) fds.push_back(good.items[i]->descriptor());
    EXPECT_EQ(verdict_on({fds[0], fds[1]}), FrameError::none);
    EXPECT_EQ(verdict_on({}), FrameError::missing_descriptor);
    EXPECT_EQ(verdict_on({fds[0]}), FrameError::missing_descriptor);
    EXPECT_EQ(verdict_on(fds), FrameError::stray_descriptor);
    EXPECT_EQ(verdict_on(std::vector<int>(17, fds[0])), FrameError::stray_descriptor);

    SharedMemoryList longer = memories_of({4097});
    EXPECT_EQ(verdict_on({fds[0], longer.items[0]->descriptor()}), FrameError::not_sealed);
    SharedMemoryList shorter = memories_of({4095});
    EXPECT_EQ(verdict_on({shorter.items[0]->descriptor(), fds[0]}), FrameError::not_sealed);
    SharedMemoryRef unsealed;
    ASSERT_EQ(make_shared_memory(4096, unsealed), 0);
    EXPECT_EQ(verdict_on({fds[0], unsealed->descriptor()}), FrameError::not_sealed);
    for (int seals : {F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_GROW | F_SEAL_WRITE,
                      F_SEAL_SHRINK | F_SEAL_WRITE, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL}) {
        Descriptor partly;
        ASSERT_EQ(make_memfd(partly), 0);
        ASSERT_EQ(::write(partly.get(), std::array<char, 4096>{}.data(), 4096), 4096);
        ASSERT_EQ(::fcntl(partly.get(), F_ADD_SEALS, seals), 0);
        EXPECT_EQ(verdict_on({partly.get(), fds[0]}), FrameError::not_sealed) << seals;
    }
    Descriptor hollow;
    ASSERT_EQ(make_memfd(hollow), 0);
    ASSERT_EQ(::ftruncate(hollow.get(), 4096), 0);
    ASSERT_EQ(seal_memfd(hollow), 0);
    EXPECT_EQ(verdict_on({fds[0], hollow.get()}), FrameError::not_sealed);
    Descriptor null_device(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(verdict_on({null_device.get(), fds[1]}), FrameError::not_sealed);
}

/// Past send_packet(), which takes no more than a packet may carry.
void send_with(int socket, std::vector<std::byte> packet, const std::vector<int>& passed) {
    std::array<cmsghdr, 32> control{};
    iovec part{packet.data(), packet.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(passed.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(passed.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), passed.data(), passed.size() * sizeof(int));
    ASSERT_GT(::sendmsg(socket, &message, 0), 0);
}

TEST(Frame, MoreDescriptorsThanAPacketMayCarryAreRefusedAndClosed) {
    SharedMemoryList memories = memories_of(std::vector<std::size_t>(kSharedMemoriesMax, 10));
    std::vector<std::byte> body(kInlineBytesMax + 1);
    OutgoingFrame frame;
    ASSERT_EQ(make_frame(FrameKind::value, 1, body, frame, &memories), 0);
    std::vector<int> passed{frame.memfd.get()};
    for (const SharedMemoryRef& memory : memories.items) passed.push_back(memory->descriptor());
    Pipe pipe;
    send_with(pipe.near.get(), packet_of(frame), passed);
    EXPECT_EQ(pipe.receive().bad, FrameError::none);
    int before = count_descriptors();
    // There is room for the first of these behind the last that may come; for the others not.
    while (passed.size() < 40) {
        passed.push_back(passed.back());
        send_with(pipe.near.get(), packet_of(frame), passed);
        EXPECT_EQ(pipe.receive().bad, FrameError::stray_descriptor) << passed.size();
        EXPECT_EQ(count_descriptors(), before);
    }
}

TEST(Frame, APacketBeyondTheBufferIsRefused) {
    Pipe pipe;
    pipe.send_raw(std::vector<std::byte>(kPacketBytesMax + 100));
    EXPECT_EQ(pipe.receive().bad, FrameError::bad_length);
}

TEST(Frame, AClosedPeerAndAnEmptyPacketAreTheEnd) {
    Pipe pipe;
    EXPECT_EQ(pipe.receive().error, -EAGAIN);
    pipe.send_raw({});
    EXPECT_TRUE(pipe.receive().closed);
    pipe.near.close();
    EXPECT_TRUE(pipe.receive().closed);
}

TEST(MemoryFile, CannotBeChangedOnceSealed) {
    Descriptor memfd;
    std::vector<std::byte> body(8192);
    ASSERT_EQ(make_sealed_memfd(body, memfd), 0);
    EXPECT_NE(::ftruncate(memfd.get(), 0), 0);
    EXPECT_NE(::write(memfd.get(), "x", 1), 1);
    EXPECT_EQ(::mmap(nullptr, 4096, PROT_WRITE, MAP_SHARED, memfd.get(), 0), MAP_FAILED);
}

}  // namespace
