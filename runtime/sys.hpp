// System calls of the engine, each behind a function that returns -errno and is not inlined: the address of errno
// is cached by compilers across a switch (traps: a fiber that moved would read another thread's).
#pragma once

#include <weft/lowlevel.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::rt::sys {

/// False: the deadline has passed.
bool futex_wait_until(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                      TimePoint deadline) noexcept;
void futex_wake_one(std::atomic<std::uint32_t>& word) noexcept;

/// Anonymous, no reserve, no huge pages. Null: refused.
void* map_stack_memory(std::size_t bytes) noexcept;
void unmap(void* address, std::size_t bytes) noexcept;
/// Light-weight guard pages (Linux 6.13+); -errno.
int install_guard(void* address, std::size_t bytes) noexcept;
int protect_none(void* address, std::size_t bytes) noexcept;
void give_back_pages(void* address, std::size_t bytes) noexcept;
/// vm.max_map_count, or its default.
std::size_t max_map_count() noexcept;

/// The processors this process may use: the affinity mask and the cgroup's CPU quota count.
unsigned available_cores() noexcept;

int make_eventfd() noexcept;
int make_epoll() noexcept;
int epoll_add(int epoll_fd, int fd, std::uint32_t events, std::uint64_t data) noexcept;
void epoll_delete(int epoll_fd, int fd) noexcept;
/// A deadline for which nobody reads the clock.
inline constexpr TimePoint kAtOnce = TimePoint::min();
/// Waits for events until the deadline; -errno. EINTR counts as no event.
int epoll_wait_until(int epoll_fd, void* events, int capacity, TimePoint deadline) noexcept;
void ring(int event_fd) noexcept;
void silence(int event_fd) noexcept;
void close_fd(int fd) noexcept;

/// The kernel may round this thread's sleeps up by that much; returns the old value.
unsigned long set_timer_slack_ns(unsigned long slack) noexcept;

}  // namespace weft::rt::sys
