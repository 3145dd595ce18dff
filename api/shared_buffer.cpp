// The slow paths of <weft/shared_buffer.hpp>: all of it but the casts.
#include <weft/shared_buffer.hpp>

#include <cstring>
#include <string>
#include <system_error>

namespace weft {

using detail::SharedMemoryState;

namespace {

[[noreturn]] void throw_system_error(std::size_t size, int error) {
    throw std::system_error(-error, std::generic_category(),
                            "weft::SharedBuffer of " + std::to_string(size) + " bytes");
}

void seal(rt::process::SharedMemory& memory) {
    int error = detail::seal_shared_memory(memory);
    if (error == 0) return;
    const char* why =
        error == -EBUSY ? ", while another process, or a device, can write to it" : "";
    throw std::system_error(-error, std::generic_category(),
                            "weft::SharedBuffer of " +
                                std::to_string(detail::shared_memory_bytes(memory).size()) +
                                " bytes: it cannot be sealed" + why);
}

}  // namespace

SharedBuffer::SharedBuffer(std::size_t size) {
    if (size == 0) return;
    if (int error = detail::make_shared_memory(size, memory_); error != 0) {
        throw_system_error(size, error);
    }
}

SharedBuffer SharedBuffer::copy_of(std::span<const std::byte> bytes) {
    SharedBuffer made(bytes.size());
    if (!bytes.empty()) std::memcpy(made.writable().data(), bytes.data(), bytes.size());
    return made;
}

std::span<const std::byte> SharedBuffer::bytes() const noexcept {
    if (memory_ == nullptr) return {};
    return detail::shared_memory_bytes(*memory_);
}

std::span<std::byte> SharedBuffer::writable() {
    if (memory_ == nullptr) return {};
    if (detail::shared_memory_state(*memory_) != SharedMemoryState::writable) {
        throw UsageError(
            "weft::SharedBuffer::writable: it is sealed, since it has been sent to another "
            "process, was received from one, or seal() was called: what others read does not "
            "change. Make another one: SharedBuffer::copy_of(bytes())");
    }
    return detail::shared_memory_bytes(*memory_);
}

void SharedBuffer::seal() {
    if (memory_ != nullptr) weft::seal(*memory_);
}

bool SharedBuffer::is_sealed() const noexcept {
    return memory_ != nullptr && detail::shared_memory_state(*memory_) == SharedMemoryState::sealed;
}

void SharedBuffer::throw_odd_size(std::size_t bytes, std::size_t bytes_each) {
    throw UsageError("weft::SharedBuffer: its " + std::to_string(bytes) +
                     " bytes are no whole number of elements of " + std::to_string(bytes_each));
}

void Codec<SharedBuffer>::write(OutputArchive& out, const SharedBuffer& value) {
    Codec<bool>::write(out, !value.empty());
    if (value.empty()) return;
    seal(*value.memory_);
    out.write_memory(value.memory_);
}

SharedBuffer Codec<SharedBuffer>::read(InputArchive& in) {
    SharedBuffer value;
    if (Codec<bool>::read(in)) value.memory_ = in.read_memory();
    return value;
}

}  // namespace weft
