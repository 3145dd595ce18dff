#include "process/memory_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace weft::rt::process {

namespace {

constexpr int kContentSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

/// Of x86-64, and of ARM with pages of 4 KiB. Where huge pages have another size there are none here.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::byte* as_bytes(void* mapped) noexcept {
    return mapped == MAP_FAILED ? nullptr : static_cast<std::byte*>(mapped);
}

/// A mapping at an address where huge pages can be; null and errno.
std::byte* map_file(const Descriptor& memfd, std::size_t size, int protection, int flags) noexcept {
    constexpr int kNowhere = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (size >= kHugePage) {
        // Room enough for an aligned address, wherever it begins; what is too much is given back.
        std::byte* room = as_bytes(::mmap(nullptr, size + kHugePage, PROT_NONE, kNowhere, -1, 0));
        if (room != nullptr) {
            std::size_t before = -reinterpret_cast<std::uintptr_t>(room) % kHugePage;
            std::byte* aligned = room + before;
            auto page = static_cast<std::size_t>(::getpagesize());
            void* mapped = ::mmap(aligned, size, protection, flags | MAP_FIXED, memfd.get(), 0);
            if (mapped != MAP_FAILED) {
                std::byte* end = aligned + (size + page - 1) / page * page;
                std::byte* room_end = room + size + kHugePage;
                if (before != 0) ::munmap(room, before);
                if (end < room_end) ::munmap(end, static_cast<std::size_t>(room_end - end));
                return aligned;
            }
            int error = errno;
            ::munmap(room, size + kHugePage);
            errno = error;
            return nullptr;
        }
    }
    return as_bytes(::mmap(nullptr, size, protection, flags, memfd.get(), 0));
}

/// Asks for huge pages, which this machine may not have or give: what is missing is populated by
/// small ones after this. They make each step of a large buffer's life cheaper by an order of
/// magnitude: taking, sealing, faulting in on the other side, giving back. The usual way to them,
/// MADV_HUGEPAGE, is closed to memory files by default (shmem_enabled: never); this one is not.
/// Linux 6.1.
void take_huge_pages(std::byte* data, std::size_t size) noexcept {
    std::size_t whole = size / kHugePage * kHugePage;
    // One page of each must be there: what is empty altogether is left alone.
    for (std::size_t at = 0; at < whole; at += kHugePage) {
        if (::madvise(data + at, 1, MADV_POPULATE_WRITE) != 0) return;
    }
    if (whole != 0) ::madvise(data, whole, MADV_COLLAPSE);
}

/// Takes the memory. So what is lacking is lacking now, and not at some write, which would end in
/// SIGBUS; no reader elsewhere finds a hole; and one call is cheaper than a fault for each page.
int take_memory(std::byte* data, std::size_t size, const Descriptor& memfd) noexcept {
    take_huge_pages(data, size);
    if (::madvise(data, size, MADV_POPULATE_WRITE) == 0) return 0;
    if (errno != EINVAL) return errno == EFAULT ? -ENOMEM : -errno;
    // Before Linux 5.14. It begins anew after a signal, so it is the second choice.
    int error = 0;
    do {
        error = ::fallocate(memfd.get(), 0, 0, static_cast<off_t>(size)) == 0 ? 0 : -errno;
    } while (error == -EINTR);
    return error;
}

int write_all(int fd, std::span<const std::byte> bytes) noexcept {
    while (!bytes.empty()) {
        ssize_t written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return 0;
}

/// Below a huge page's size a write is cheaper than a mapping.
int fill_memfd(const Descriptor& memfd, std::span<const std::byte> bytes) noexcept {
    if (bytes.size() < kHugePage) return write_all(memfd.get(), bytes);
    std::byte* mapped = nullptr;
    if (int error = map_new_memfd(memfd, bytes.size(), mapped); error != 0) return error;
    std::memcpy(mapped, bytes.data(), bytes.size());
    unmap(mapped, bytes.size());
    return 0;
}

}  // namespace

int make_memfd(Descriptor& memfd) noexcept {
    constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = ::memfd_create("weft", kFlags | MFD_NOEXEC_SEAL);
    // Kernels before 6.3 do not know the last flag; with vm.memfd_noexec=2 the later ones insist on
    // it.
    if (fd < 0 && errno == EINVAL) fd = ::memfd_create("weft", kFlags);
    if (fd < 0) return -errno;
    memfd = Descriptor(fd);
    return 0;
}

int seal_memfd(const Descriptor& memfd) noexcept {
    return ::fcntl(memfd.get(), F_ADD_SEALS, kContentSeals | F_SEAL_SEAL) == 0 ? 0 : -errno;
}

int check_sealed_memfd(const Descriptor& memfd, std::size_t size) noexcept {
    // Without these seals the sender could shrink the file under our feet (SIGBUS) or change what
    // has been checked.
    int seals = ::fcntl(memfd.get(), F_GET_SEALS);
    if (seals < 0 || (seals & kContentSeals) != kContentSeals) return -EPROTO;
    struct stat status{};
    if (::fstat(memfd.get(), &status) != 0) return -errno;
    if (size == 0 || static_cast<std::size_t>(status.st_size) != size) return -EPROTO;
    // A hole would be filled at the expense of the process that reads it, and where that finds no
    // memory its read ends in SIGBUS.
    constexpr std::size_t kBlockBytes = 512;
    if (static_cast<std::size_t>(status.st_blocks) < size / kBlockBytes) return -EPROTO;
    return 0;
}

int make_sealed_memfd(std::span<const std::byte> bytes, Descriptor& memfd) noexcept {
    Descriptor made;
    if (int error = make_memfd(made); error != 0) return error;
    if (int error = fill_memfd(made, bytes); error != 0) return error;
    if (int error = seal_memfd(made); error != 0) return error;
    memfd = std::move(made);
    return 0;
}

int map_new_memfd(const Descriptor& memfd, std::size_t size, std::byte*& address) noexcept {
    if (::ftruncate(memfd.get(), static_cast<off_t>(size)) != 0) return -errno;
    std::byte* mapped = map_file(memfd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    if (mapped == nullptr) return -errno;
    if (int error = take_memory(mapped, size, memfd); error != 0) {
        unmap(mapped, size);
        return error;
    }
    address = mapped;
    return 0;
}

int map_sealed_memfd(const Descriptor& memfd, std::size_t size, Populate populate,
                     const std::byte*& address) noexcept {
    if (int error = check_sealed_memfd(memfd, size); error != 0) return error;
    int flags = MAP_PRIVATE | (populate == Populate::yes ? MAP_POPULATE : 0);
    std::byte* mapped = map_file(memfd, size, PROT_READ, flags);
    if (mapped == nullptr) return -errno;
    address = mapped;
    return 0;
}

void unmap(const std::byte* address, std::size_t size) noexcept {
    ::munmap(const_cast<std::byte*>(address), size);
}

}  // namespace weft::rt::process
