// A memory file and its mapping in this process; see <weft/detail/shared_memory.hpp>.
//
// Who comes in: weft::SharedBuffer through the functions there, and frame.cpp, which sends the
// descriptors.
// Invariant: the address never changes, so that what points into it stays good for reading.
// Thread rules: any thread.
#pragma once

#include <weft/detail/shared_memory.hpp>

#include <atomic>
#include <cstddef>
#include <mutex>

#include "process/os.hpp"

namespace weft::rt::process {

class SharedMemory {
public:
    using State = detail::SharedMemoryState;

    SharedMemory() = default;
    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;
    ~SharedMemory();

    /// One of these two, once; -errno.
    int make(std::size_t size) noexcept;
    int map_sealed(Descriptor memfd, std::size_t size) noexcept;

    int seal() noexcept;

    State state() const noexcept { return state_.load(std::memory_order_seq_cst); }
    std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    int descriptor() const noexcept { return memfd_.get(); }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    Descriptor memfd_;
    std::mutex sealing_;
    std::atomic<State> state_{State::writable};  // written under `sealing_`; only forward
};

}  // namespace weft::rt::process
