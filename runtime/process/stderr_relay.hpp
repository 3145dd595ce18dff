// What workers write to standard error: passed on to the program's, and its end kept for the day
// they die.
//
// A worker's standard error is a pipe that the pool's manager thread reads. What comes out of it is
// written to the program's standard error at once, and the last of it stays here, so that the error
// of a call whose worker has died can say what the worker said last.
//
// The program's standard error may be a pipe that nobody reads, a stopped terminal, or closed. The
// manager thread must not wait for it, since all answers come through that thread; so it writes
// without blocking. What is not taken stays in the worker's pipe for kPatience, which slows the
// worker down as a standard error of its own would. After that it is dropped until the program's
// takes something again, which is then told how much is missing. A standard error that is closed,
// or gives errors, drops all. What a worker leaves unread when it dies is kept for as long, up to
// kKeptBytesMax.
//
// The pipe is never read to its end: a process that a worker has started may hold it open for ever.
// After the worker's death it holds what it held then, and is closed.
// Rejected: writing after poll() has said that there is room (a terminal has room for less than is
// written, and another thread may take it), and O_NONBLOCK on the program's own description (which
// its parent may share).
// Thread rules: the pool's manager thread only.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "process/os.hpp"
#include "process/payload.hpp"

namespace weft::rt::process {

/// The program's standard error.
class StderrRelay {
public:
    /// How many bytes are done with: written, or dropped.
    std::size_t write(std::span<const char> text) noexcept;
    /// Takes it in any case: writes it later where it cannot be written now.
    void keep(std::span<const char> text) noexcept;
    /// Tries to write what is kept. Whether something is left of it.
    bool write_kept() noexcept;
    /// Waits until what is kept is written, or dropped because nothing is taken for a second.
    void finish() noexcept;

private:
    std::size_t write_or_drop(std::span<const char> text) noexcept;
    bool tell_of_dropped() noexcept;

    static constexpr std::size_t kKeptBytesMax = std::size_t{256} << 10;

    std::vector<char> kept_;  // goes before all that comes later

    bool stuck_ = false;
    std::chrono::steady_clock::time_point stuck_since_{};
    std::uint64_t dropped_ = 0;  // not told yet
};

/// One worker's.
class StderrPipe {
public:
    /// The end to read from; -errno.
    int open(Descriptor end) noexcept;
    int get() const noexcept { return end_.get(); }
    bool is_open() const noexcept { return end_.open(); }
    void close() noexcept { end_.close(); }

    enum class State : std::uint8_t {
        read,     ///< nothing is left for now, or it is somebody else's turn
        blocked,  ///< the relay takes no more for now
        ended,    ///< nobody can write to it any more
    };
    /// Reads what there is and passes it on.
    State forward(StderrRelay& relay) noexcept;
    /// The same once its worker is dead: what the relay does not take now is left with it.
    void drain(StderrRelay& relay) noexcept;

    /// The last that came, since the last forget(). Left empty where there is no memory.
    void copy_tail(Payload& into) const noexcept;
    void forget() noexcept { seen_ = 0; }

private:
    bool pass_on(StderrRelay& relay) noexcept;
    int read_more() noexcept;

    static constexpr std::size_t kTailBytes = 8192;
    static constexpr std::size_t kChunkBytes = 4096;

    Descriptor end_;
    std::array<char, kTailBytes> tail_;  // a ring; the next byte goes to seen_ % kTailBytes
    std::uint64_t seen_ = 0;
    std::array<char, kChunkBytes> chunk_;  // read, and in tail_, but not passed on yet
    std::size_t chunk_begin_ = 0;
    std::size_t chunk_end_ = 0;
};

}  // namespace weft::rt::process
