#include "process/shared_memory.hpp"

#include <cerrno>
#include <cstdint>
#include <new>

#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "process/memory_file.hpp"

namespace weft::rt::process {

namespace {

/// What malloc refuses too. The kernel promises any amount of a memory file, and kills somebody
/// when it comes to writing.
bool is_more_than_there_is(std::size_t size) noexcept {
    struct sysinfo machine{};
    if (size > PTRDIFF_MAX) return true;
    if (::sysinfo(&machine) != 0) return false;
    return size / machine.mem_unit > machine.totalram + machine.totalswap;
}

}  // namespace

SharedMemory::~SharedMemory() {
    if (data_ != nullptr) unmap(data_, size_);
}

int SharedMemory::make(std::size_t size) noexcept {
    if (is_more_than_there_is(size)) return -ENOMEM;
    if (int error = make_memfd(memfd_); error != 0) return error;
    if (int error = map_new_memfd(memfd_, size, data_); error != 0) return error;
    size_ = size;
    return 0;
}

int SharedMemory::map_sealed(Descriptor memfd, std::size_t size) noexcept {
    // Unlike a message it may not be read at all here, so its pages come as they are looked at.
    const std::byte* mapped = nullptr;
    int error = map_sealed_memfd(memfd, size, Populate::no, mapped);
    if (error != 0) return error;
    data_ = const_cast<std::byte*>(mapped);
    size_ = size;
    memfd_ = std::move(memfd);
    state_.store(State::sealed, std::memory_order_seq_cst);
    return 0;
}

int SharedMemory::seal() noexcept {
    std::lock_guard lock(sealing_);
    if (state() == State::sealed) return 0;
    if (state() == State::writable) {
        // To the kernel a read-only shared mapping of a file that is open for writing is one that
        // could yet become writable, and keeps the file from being sealed. A private one that is
        // never written shows the file's own pages.
        void* mapped = ::mmap(data_, size_, PROT_READ, MAP_PRIVATE | MAP_FIXED, memfd_.get(), 0);
        if (mapped == MAP_FAILED) return -errno;
        state_.store(State::read_only, std::memory_order_seq_cst);
    }
    if (int error = seal_memfd(memfd_); error != 0) return error;
    state_.store(State::sealed, std::memory_order_seq_cst);
    return 0;
}

}  // namespace weft::rt::process

namespace weft::detail {

namespace process = rt::process;

namespace {

template <class Begin>
int new_memory(SharedMemoryRef& memory, Begin begin) noexcept {
    SharedMemoryRef fresh;
    try {
        fresh = std::make_shared<process::SharedMemory>();
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
    int error = begin(*fresh);
    if (error == 0) memory = std::move(fresh);
    return error;
}

}  // namespace

int make_shared_memory(std::size_t size, SharedMemoryRef& made) noexcept {
    return new_memory(made, [&](process::SharedMemory& memory) { return memory.make(size); });
}

int map_shared_memory(int fd, std::size_t size, SharedMemoryRef& mapped) noexcept {
    process::Descriptor file(fd);
    return new_memory(mapped, [&](process::SharedMemory& memory) {
        return memory.map_sealed(std::move(file), size);
    });
}

int seal_shared_memory(process::SharedMemory& memory) noexcept { return memory.seal(); }

SharedMemoryState shared_memory_state(const process::SharedMemory& memory) noexcept {
    return memory.state();
}

std::span<std::byte> shared_memory_bytes(const process::SharedMemory& memory) noexcept {
    return {memory.data(), memory.size()};
}

void ArrivedFiles::close() noexcept {
    for (std::size_t number = 0; number < count_; ++number) process::Descriptor(take(number));
    count_ = 0;
}

}  // namespace weft::detail
