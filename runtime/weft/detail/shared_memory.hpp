// Memory that travels between processes without being copied: the door between weft::SharedBuffer
// and archives above, and memory files below (runtime/process/shared_memory.cpp).
//
// A memory is a file of the kernel's without a name, and one mapping of it here. It is writable
// until it is sealed; from then on nobody, in no process, can change its bytes or its size. Only
// sealed ones travel: as descriptors beside the bytes of a message, where a number says which.
// Not for users.
// Invariant: a descriptor has one owner at any time, a memory or an ArrivedFiles, and sending
// borrows it. So a message can be sent again, and every way out of a call closes what came with it.
// Thread rules: a memory from any thread; the lists belong to one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

namespace weft::rt::process {
class SharedMemory;
}

namespace weft::detail {

using SharedMemoryRef = std::shared_ptr<rt::process::SharedMemory>;

/// In one message. The kernel takes 253 descriptors in a packet; each costs a number in two
/// processes.
inline constexpr std::size_t kSharedMemoriesMax = 16;

/// Zeros, for which memory is there: it is taken at once. -errno.
int make_shared_memory(std::size_t size, SharedMemoryRef& made) noexcept;
/// Maps a sealed file of that size for reading. Owns `fd`, also where it fails. -errno.
int map_shared_memory(int fd, std::size_t size, SharedMemoryRef& mapped) noexcept;
/// From the first call on the mapping is read-only, also where this fails and may be tried again.
/// -EBUSY: some other process, or the kernel on somebody's behalf, can still write.
int seal_shared_memory(rt::process::SharedMemory& memory) noexcept;

enum class SharedMemoryState : unsigned char { writable, read_only, sealed };
SharedMemoryState shared_memory_state(const rt::process::SharedMemory& memory) noexcept;
std::span<std::byte> shared_memory_bytes(const rt::process::SharedMemory& memory) noexcept;

/// Sealed memories, by their numbers in a message.
struct SharedMemoryList {
    std::array<SharedMemoryRef, kSharedMemoriesMax> items;
    std::size_t count = 0;
};

/// Sealed files that came beside a message, by their numbers there. Closes those that nobody takes.
class ArrivedFiles {
public:
    ArrivedFiles() = default;
    ArrivedFiles(ArrivedFiles&& other) noexcept { *this = std::move(other); }
    ArrivedFiles& operator=(ArrivedFiles&& other) noexcept {
        std::swap(fds_, other.fds_);
        std::swap(sizes_, other.sizes_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~ArrivedFiles() {
        if (count_ != 0) close();
    }

    /// At most kSharedMemoriesMax.
    void add(int fd, std::size_t size) noexcept {
        fds_[count_] = fd;
        sizes_[count_++] = size;
    }
    std::size_t count() const noexcept { return count_; }
    std::size_t size(std::size_t number) const noexcept { return sizes_[number]; }
    /// The descriptor, once, for the caller to own.
    int take(std::size_t number) noexcept { return std::exchange(fds_[number], -1); }

private:
    void close() noexcept;

    std::array<int, kSharedMemoriesMax> fds_{};
    std::array<std::size_t, kSharedMemoriesMax> sizes_{};
    std::size_t count_ = 0;
};

}  // namespace weft::detail
