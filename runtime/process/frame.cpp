#include "process/frame.hpp"

#include <cerrno>
#include <cstring>

#include "process/crc32c.hpp"
#include "process/memory_file.hpp"
#include "process/shared_memory.hpp"

namespace weft::rt::process {

namespace {

std::span<const std::byte> bytes_of(const FrameHeader& header) noexcept {
    return std::as_bytes(std::span(&header, 1));
}

/// `rest` is what stands behind the header.
std::uint32_t checksum(FrameHeader header, std::span<const std::byte> rest) noexcept {
    header.crc = 0;
    return crc32c(rest, crc32c(bytes_of(header)));
}

std::span<const std::byte> sizes_of(const OutgoingFrame& frame) noexcept {
    return std::as_bytes(std::span(frame.memory_sizes).first(frame.header.memories));
}

void add_checksum(OutgoingFrame& frame) noexcept {
    frame.header.crc = crc32c(frame.body, checksum(frame.header, sizes_of(frame)));
}

int move_body_to_memfd(OutgoingFrame& frame) noexcept {
    if (int error = make_sealed_memfd(frame.body, frame.memfd); error != 0) return error;
    frame.body = {};
    frame.header.in_memfd = 1;
    add_checksum(frame);
    return 0;
}

/// spawn and spawned carry a descriptor that is no memfd.
bool carries_descriptor(FrameKind kind) noexcept {
    return kind == FrameKind::spawn || kind == FrameKind::spawned;
}

bool carries_memories(FrameKind kind) noexcept {
    return kind == FrameKind::call || kind == FrameKind::value;
}

std::size_t sizes_bytes(const FrameHeader& header) noexcept {
    return header.memories * sizeof(std::uint64_t);
}

/// As many descriptors as the header says. `frame.bad` is none until then.
bool check_descriptors(const Received& received, IncomingFrame& frame) noexcept {
    const FrameHeader& header = frame.header;
    std::size_t wanted = header.memories + (header.in_memfd == 1 ? 1U : 0U) +
                         (carries_descriptor(header.kind) ? 1U : 0U);
    if (received.passed_count < wanted) {
        frame.bad = received.fd_lost ? FrameError::no_resources : FrameError::missing_descriptor;
        // The kernel does not tell why it dropped one; this is the limit it met.
        if (received.fd_lost) frame.shortage = EMFILE;
    } else if (received.passed_count > wanted || received.fd_lost) {
        frame.bad = FrameError::stray_descriptor;
    }
    return frame.bad == FrameError::none;
}

/// -EPROTO: one of them is not what the sender says. Then none is kept.
int take_memories(std::span<const std::byte> sizes, std::span<Descriptor> passed,
                  detail::ArrivedFiles& memories) noexcept {
    std::array<std::uint64_t, detail::kSharedMemoriesMax> size;
    std::memcpy(size.data(), sizes.data(), sizes.size());
    for (std::size_t number = 0; number < passed.size(); ++number) {
        int error = check_sealed_memfd(passed[number], size[number]);
        if (error != 0) return error;
    }
    for (std::size_t number = 0; number < passed.size(); ++number) {
        memories.add(passed[number].release(), size[number]);
    }
    return 0;
}

}  // namespace

const char* describe(FrameError error) noexcept {
    switch (error) {
        case FrameError::none:
            return "nothing is wrong with it";
        case FrameError::too_short:
            return "it is shorter than a header";
        case FrameError::bad_magic:
            return "its first bytes are not a frame's";
        case FrameError::bad_version:
            return "it is of another version";
        case FrameError::bad_kind:
            return "its kind is unknown here";
        case FrameError::bad_length:
            return "its length is wrong";
        case FrameError::bad_checksum:
            return "its checksum is wrong";
        case FrameError::missing_descriptor:
            return "its descriptor is missing";
        case FrameError::stray_descriptor:
            return "a descriptor came with it";
        case FrameError::not_sealed:
            return "its memory file is not sealed, or of another size";
        case FrameError::no_resources:
            return "there was no descriptor or memory left to take it";
    }
    return "unknown";
}

int make_frame(FrameKind kind, std::uint64_t id, std::span<const std::byte> body,
               OutgoingFrame& frame, const detail::SharedMemoryList* memories) noexcept {
    frame.header = FrameHeader{};
    frame.header.magic = kFrameMagic;
    frame.header.version = kFrameVersion;
    frame.header.kind = kind;
    frame.header.id = id;
    frame.header.length = body.size();
    frame.body = body;
    std::size_t count = memories != nullptr ? memories->count : 0;
    frame.header.memories = static_cast<std::uint32_t>(count);
    for (std::size_t number = 0; number < count; ++number) {
        const SharedMemory& memory = *memories->items[number];
        frame.memory_sizes[number] = memory.size();
        frame.memory_fds[number] = memory.descriptor();
    }
    if (body.size() > kInlineBytesMax) return move_body_to_memfd(frame);
    add_checksum(frame);
    return 0;
}

int send_frame(int socket, OutgoingFrame& frame, Blocking blocking, int passed) noexcept {
    auto send_now = [&] {
        const iovec parts[] = {
            {&frame.header, sizeof frame.header},
            {const_cast<std::byte*>(sizes_of(frame).data()), sizes_of(frame).size()},
            {const_cast<std::byte*>(frame.body.data()), frame.body.size()},
        };
        std::array<int, kPassedMax> beside;
        std::size_t count = 0;
        if (frame.memfd.open()) passed = frame.memfd.get();
        if (passed >= 0) beside[count++] = passed;
        for (std::size_t number = 0; number < frame.header.memories; ++number) {
            beside[count++] = frame.memory_fds[number];
        }
        return send_packet(socket, parts, std::span(beside).first(count), blocking);
    };
    int error = send_now();
    if (error == -EMSGSIZE && !frame.memfd.open() && passed < 0 && !frame.body.empty()) {
        error = move_body_to_memfd(frame);
        if (error == 0) error = send_now();
    }
    return error;
}

FrameError check_packet(std::span<const std::byte> packet, std::size_t length_max,
                        FrameHeader& header) noexcept {
    if (packet.size() < sizeof header) return FrameError::too_short;
    std::memcpy(&header, packet.data(), sizeof header);
    if (header.magic != kFrameMagic) return FrameError::bad_magic;
    if (header.version != kFrameVersion) return FrameError::bad_version;
    std::span<const std::byte> rest = packet.subspan(sizeof header);
    if (header.in_memfd > 1) return FrameError::bad_checksum;
    if (header.crc != checksum(header, rest)) return FrameError::bad_checksum;
    if (header.kind < FrameKind::hello || header.kind > FrameKind::refused) {
        return FrameError::bad_kind;
    }
    bool in_memfd = header.in_memfd == 1;
    if (in_memfd && carries_descriptor(header.kind)) return FrameError::bad_kind;
    if (header.memories != 0 && !carries_memories(header.kind)) return FrameError::bad_kind;
    if (header.memories > detail::kSharedMemoriesMax) return FrameError::bad_length;
    if (rest.size() < sizes_bytes(header)) return FrameError::bad_length;
    std::size_t inline_bytes = rest.size() - sizes_bytes(header);
    if (header.length > length_max) return FrameError::bad_length;
    if (in_memfd ? inline_bytes != 0 || header.length == 0 : header.length != inline_bytes) {
        return FrameError::bad_length;
    }
    return FrameError::none;
}

IncomingFrame receive_frame(int socket, std::span<std::byte> buffer, std::size_t length_max,
                            Blocking blocking) noexcept {
    IncomingFrame frame;
    Received received = receive_packet(socket, buffer, blocking);
    frame.error = received.error;
    if (received.error != 0) return frame;
    if (received.bytes == 0) {
        frame.closed = true;
        return frame;
    }
    std::span<const std::byte> packet = buffer.first(received.bytes);
    frame.bad = received.truncated ? FrameError::bad_length
                                   : check_packet(packet, length_max, frame.header);
    if (frame.bad != FrameError::none) return frame;

    if (!check_descriptors(received, frame)) return frame;
    std::span<Descriptor> passed = std::span(received.passed).first(received.passed_count);
    std::span<const std::byte> rest = packet.subspan(sizeof(FrameHeader));
    std::size_t sizes = sizes_bytes(frame.header);
    int error =
        take_memories(rest.first(sizes), passed.last(frame.header.memories), frame.memories);
    if (error == 0 && frame.header.in_memfd == 1) {
        error = map_payload(passed.front(), frame.header.length, frame.body);
    } else if (error == 0) {
        error = copy_payload(rest.subspan(sizes), frame.body);
        if (carries_descriptor(frame.header.kind)) frame.passed = std::move(passed.front());
    }
    if (error != 0) {
        frame.bad = error == -EPROTO ? FrameError::not_sealed : FrameError::no_resources;
        if (frame.bad == FrameError::no_resources) frame.shortage = -error;
    }
    return frame;
}

}  // namespace weft::rt::process
