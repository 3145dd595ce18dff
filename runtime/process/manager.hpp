// What the two halves of the manager thread share: manager.cpp, which hears from processes and sees
// them end, and starting.cpp, which makes them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <sys/wait.h>

#include "process/pool.hpp"

namespace weft::rt::process {

/// What an epoll event is about; 0 is the doorbell. Tickets start behind these, and are never used
/// twice, so that an event of something that is gone by now finds nobody.
enum Tag : std::uint64_t { doorbell = 0, control, server_end, worker_tags = 16 };
inline constexpr std::uint64_t kTagsPerWorker = 4;

inline std::uint64_t socket_tag(const Worker& worker) noexcept {
    return worker_tags + worker.ticket * kTagsPerWorker;
}
inline std::uint64_t end_tag(const Worker& worker) noexcept { return socket_tag(worker) + 1; }
inline std::uint64_t stderr_tag(const Worker& worker) noexcept { return socket_tag(worker) + 2; }

/// Between tries to start a worker, the longest.
inline constexpr std::chrono::milliseconds kLongestPause{1000};
/// A process that does not end in that time after SIGKILL hangs in the kernel; the program's exit
/// shall not.
inline constexpr int kEndMilliseconds = 5000;

inline int number_in(const IncomingFrame& frame) noexcept {
    int number = 0;
    std::span<const std::byte> bytes = frame.body.bytes();
    std::memcpy(&number, bytes.data(), std::min(bytes.size(), sizeof number));
    return number;
}

/// 0 where that cannot be had.
std::uint64_t resident_bytes_of(pid_t pid) noexcept;

inline void describe_end(int wait_status, char* text, std::size_t size) noexcept {
    if (WIFSIGNALED(wait_status)) {
        std::snprintf(text, size, "signal %d", WTERMSIG(wait_status));
    } else {
        std::snprintf(text, size, "exit status %d", WEXITSTATUS(wait_status));
    }
}

}  // namespace weft::rt::process
