#include "process/payload.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "process/memory_file.hpp"

namespace weft::rt::process {

int copy_payload(std::span<const std::byte> bytes, Payload& into) noexcept {
    auto* block = static_cast<std::byte*>(std::malloc(bytes.empty() ? 1 : bytes.size()));
    if (block == nullptr) return -ENOMEM;
    if (!bytes.empty()) std::memcpy(block, bytes.data(), bytes.size());
    into = Payload(block, bytes.size(), Payload::Origin::malloc);
    return 0;
}

int map_payload(const Descriptor& memfd, std::size_t size, Payload& into) noexcept {
    const std::byte* address = nullptr;
    // All of it will be read, and one system call is cheaper than a fault for each page.
    int error = map_sealed_memfd(memfd, size, Populate::yes, address);
    if (error != 0) return error;
    into = Payload(address, size, Payload::Origin::mmap);
    return 0;
}

}  // namespace weft::rt::process

namespace weft::detail {

void ProcessBytes::release() noexcept {
    if (origin_ == Origin::mmap) {
        rt::process::unmap(data_, size_);
    } else {
        std::free(const_cast<std::byte*>(data_));
    }
}

}  // namespace weft::detail
