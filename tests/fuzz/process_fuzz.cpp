// What a worker process may send, read as the program reads it: frames, values, exceptions.
//
// The first byte says what the rest is taken for. Whatever it is, reading ends, in a value or in a
// clear refusal; the sanitizers watch the rest. tests/fuzz/run makes a libFuzzer program of this;
// corpus_test.cpp reads what lies in corpus/ in each ordinary run.
#include <weft/archive.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "process/crc32c.hpp"
#include "process/frame.hpp"
#include "process/memory_file.hpp"
#include "process/os.hpp"
#include "process_errors.hpp"

namespace {

using namespace weft::rt::process;

constexpr std::size_t kLimit = 1 << 20;

void require(bool holds) {
    if (!holds) std::abort();
}

/// With a right checksum, which chance does not find.
std::vector<std::byte> signed_packet(std::span<const std::byte> bytes) {
    std::vector<std::byte> packet(bytes.begin(), bytes.end());
    FrameHeader header;
    if (packet.size() < sizeof header) return packet;
    std::memcpy(&header, packet.data(), sizeof header);
    header.magic = kFrameMagic;
    header.version = kFrameVersion;
    header.crc = 0;
    std::memcpy(packet.data(), &header, sizeof header);
    header.crc = crc32c(packet);
    std::memcpy(packet.data(), &header, sizeof header);
    return packet;
}

void check(std::span<const std::byte> packet) {
    FrameHeader header;
    if (check_packet(packet, kLimit, header) != FrameError::none) return;
    std::size_t sizes = header.memories * sizeof(std::uint64_t);
    require(header.length <= kLimit);
    require(header.memories <= weft::detail::kSharedMemoriesMax);
    require(packet.size() == sizeof header + sizes + (header.in_memfd != 0 ? 0 : header.length));
}

/// The packet, and beside it as many descriptors as its last byte says: memory files, sealed or not,
/// of sizes that may be right.
void receive(std::span<const std::byte> packet) {
    if (packet.empty()) return;
    auto number = std::to_integer<unsigned>(packet.back());
    Descriptor near;
    Descriptor far;
    require(make_socketpair(near, far) == 0);
    std::array<Descriptor, 4> files;
    std::array<int, 4> passed{};
    std::size_t count = number % (files.size() + 1);
    for (std::size_t i = 0; i < count; ++i) {
        static const std::array<std::byte, 4096> kBytes{};
        std::size_t size = (number & 0x40) != 0 ? kBytes.size() : 8;
        if ((number & 0x80) != 0) {
            require(make_sealed_memfd(std::span(kBytes).first(size), files[i]) == 0);
        } else {
            require(make_memfd(files[i]) == 0);
        }
        passed[i] = files[i].get();
    }
    const iovec part{const_cast<std::byte*>(packet.data()), packet.size()};
    auto beside = std::span(passed).first(count);
    if (send_packet(near.get(), std::span(&part, 1), beside, Blocking::no) != 0) return;
    static std::array<std::byte, kPacketBytesMax + 1> buffer;
    IncomingFrame frame = receive_frame(far.get(), buffer, kLimit, Blocking::no);
    if (frame.error != 0 || frame.closed || frame.bad != FrameError::none) return;
    require(frame.body.bytes().size() == frame.header.length);
    require(frame.memories.count() == frame.header.memories);
    // Each byte of it is there.
    std::span<const std::byte> body = frame.body.bytes();
    require(crc32c(body) == crc32c_by_table(body));
}

template <class T>
void read(std::span<const std::byte> bytes) {
    try {
        weft::InputArchive in(bytes);
        T value = in.read<T>();
        in.finish();
        // What could be read can be written.
        weft::OutputArchive out;
        out.write(value);
    } catch (const weft::ArchiveError&) {
    }
}

void read_an_exception(std::span<const std::byte> bytes) {
    try {
        weft::InputArchive in(bytes);
        require(weft::detail::read_exception(in) != nullptr);
    } catch (const weft::ArchiveError&) {
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    std::span<const std::byte> bytes = std::as_bytes(std::span(data + 1, size - 1));
    switch (data[0] % 8) {
        case 0:
            check(bytes);
            break;
        case 1:
            check(signed_packet(bytes));
            break;
        case 2:
            receive(signed_packet(bytes));
            break;
        case 3:
            read_an_exception(bytes);
            break;
        case 4:
            read<std::vector<std::string>>(bytes);
            break;
        case 5:
            read<std::map<std::string, std::vector<std::optional<int>>>>(bytes);
            break;
        case 6:
            read<std::variant<std::unordered_map<int, std::set<double>>, std::pair<bool, char>>>(
                bytes);
            break;
        case 7:
            read<std::tuple<std::unique_ptr<std::string>, std::vector<double>,
                            std::array<std::string, 3>, std::vector<bool>>>(bytes);
            break;
    }
    return 0;
}
