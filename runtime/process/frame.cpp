#include "process/frame.hpp"

#include <cerrno>
#include <cstring>

#include "process/crc32c.hpp"

namespace weft::rt::process {

namespace {

std::span<const std::byte> bytes_of(const FrameHeader& header) noexcept {
    return std::as_bytes(std::span(&header, 1));
}

std::uint32_t checksum(FrameHeader header, std::span<const std::byte> inline_body) noexcept {
    header.crc = 0;
    return crc32c(inline_body, crc32c(bytes_of(header)));
}

int move_body_to_memfd(OutgoingFrame& frame) noexcept {
    if (int error = make_sealed_memfd(frame.body, frame.memfd); error != 0) return error;
    frame.body = {};
    frame.header.in_memfd = 1;
    frame.header.crc = checksum(frame.header, {});
    return 0;
}

/// spawn and spawned carry a descriptor that is no memfd.
bool carries_descriptor(FrameKind kind) noexcept {
    return kind == FrameKind::spawn || kind == FrameKind::spawned;
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
               OutgoingFrame& frame) noexcept {
    frame.header = FrameHeader{};
    frame.header.magic = kFrameMagic;
    frame.header.version = kFrameVersion;
    frame.header.kind = kind;
    frame.header.id = id;
    frame.header.length = body.size();
    frame.body = body;
    if (body.size() > kInlineBytesMax) return move_body_to_memfd(frame);
    frame.header.crc = checksum(frame.header, body);
    return 0;
}

int send_frame(int socket, OutgoingFrame& frame, Blocking blocking, int passed) noexcept {
    auto send_now = [&] {
        const iovec parts[] = {
            {&frame.header, sizeof frame.header},
            {const_cast<std::byte*>(frame.body.data()), frame.body.size()},
        };
        int beside = frame.memfd.open() ? frame.memfd.get() : passed;
        return send_packet(socket, parts, beside, blocking);
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
    std::span<const std::byte> body = packet.subspan(sizeof header);
    if (header.in_memfd > 1 || header.reserved != 0) return FrameError::bad_checksum;
    if (header.crc != checksum(header, body)) return FrameError::bad_checksum;
    if (header.kind < FrameKind::hello || header.kind > FrameKind::refused) {
        return FrameError::bad_kind;
    }
    bool in_memfd = header.in_memfd == 1;
    if (in_memfd && carries_descriptor(header.kind)) return FrameError::bad_kind;
    if (header.length > length_max) return FrameError::bad_length;
    if (in_memfd ? !body.empty() || header.length == 0 : header.length != body.size()) {
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

    bool wants_descriptor = frame.header.in_memfd == 1 || carries_descriptor(frame.header.kind);
    if (!received.passed.open()) {
        if (wants_descriptor) {
            frame.bad =
                received.fd_lost ? FrameError::no_resources : FrameError::missing_descriptor;
            // The kernel does not tell why it dropped one; this is the limit it met.
            if (received.fd_lost) frame.shortage = EMFILE;
            return frame;
        }
    } else if (!wants_descriptor || received.fd_lost) {
        frame.bad = FrameError::stray_descriptor;
        return frame;
    }

    int error = 0;
    if (frame.header.in_memfd == 1) {
        error = map_payload(received.passed, frame.header.length, frame.body);
    } else {
        error = copy_payload(packet.subspan(sizeof(FrameHeader)), frame.body);
        frame.passed = std::move(received.passed);
    }
    if (error != 0) {
        frame.bad = error == -EPROTO ? FrameError::not_sealed : FrameError::no_resources;
        if (frame.bad == FrameError::no_resources) frame.shortage = -error;
    }
    return frame;
}

}  // namespace weft::rt::process
