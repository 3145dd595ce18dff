#include "sys.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <linux/futex.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "signals_held_back.hpp"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

namespace weft::rt::sys {

namespace {

timespec to_timespec(Duration d) noexcept {
    auto ns = std::max<std::int64_t>(d.count(), 0);
    return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

/// "123\n" or "max 100000": the first number of a small file, or `fallback`.
long read_number(const char* path, long fallback, long* second = nullptr) noexcept {
    std::FILE* file = std::fopen(path, "re");
    if (file == nullptr) return fallback;
    long first = fallback;
    long other = 0;
    int n = std::fscanf(file, "%ld %ld", &first, &other);
    std::fclose(file);
    if (n >= 2 && second != nullptr) *second = other;
    return n >= 1 ? first : fallback;
}

double cores_of(long quota, long period) noexcept {
    return quota > 0 && period > 0 ? static_cast<double>(quota) / static_cast<double>(period) : 0;
}

/// Where the cgroup (v2) of this process is below its mount: "/" in a container, a unit's path under systemd.
void read_cgroup_path(char* path, std::size_t size) noexcept {
    std::snprintf(path, size, "/");
    std::FILE* file = std::fopen("/proc/self/cgroup", "re");
    if (file == nullptr) return;
    char line[2048];
    while (std::fgets(line, sizeof line, file) != nullptr)
        if (std::strncmp(line, "0::/", 4) == 0) {
            line[std::strcspn(line, "\n")] = 0;
            std::snprintf(path, size, "%s", line + 3);
        }
    std::fclose(file);
}

/// The CPU quota of the cgroup this process is in, in cores; 0: no limit. In v2 that of each one above holds as well.
double cgroup_cores() noexcept {
    char path[2048];
    read_cgroup_path(path, sizeof path);
    double least = 0;
    for (;;) {
        char name[sizeof path + 32];
        std::snprintf(name, sizeof name, "/sys/fs/cgroup%s/cpu.max", path);
        long period = 0;
        long quota = read_number(name, -1, &period);
        double cores = cores_of(quota, period);
        if (cores > 0 && (least == 0 || cores < least)) least = cores;
        char* last = std::strrchr(path, '/');
        if (last == nullptr) break;
        *last = 0;
    }
    if (least > 0) return least;
    return cores_of(read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", -1),
                    read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us", 0));
}

}  // namespace

bool futex_wait_until(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                      TimePoint deadline) noexcept {
    // FUTEX_WAIT_BITSET takes an absolute time on CLOCK_MONOTONIC, which is what steady_clock counts.
    timespec until = to_timespec(deadline.time_since_epoch());
    timespec* limit = deadline == lowlevel::kNever ? nullptr : &until;
    SignalsHeldBack held_back;  // another thread gets them
    long rc = syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT_BITSET_PRIVATE,
                      expected, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
    return !(rc == -1 && errno == ETIMEDOUT);
}

void futex_wake_one(std::atomic<std::uint32_t>& word) noexcept {
    syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE_PRIVATE, 1, nullptr,
            nullptr, 0);
}

void* map_stack_memory(std::size_t bytes) noexcept {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    // With transparent huge pages on, every stack would cost 2 MiB.
    madvise(p, bytes, MADV_NOHUGEPAGE);
    return p;
}

void unmap(void* address, std::size_t bytes) noexcept { munmap(address, bytes); }

int install_guard(void* address, std::size_t bytes) noexcept {
    return madvise(address, bytes, MADV_GUARD_INSTALL) == 0 ? 0 : -errno;
}

int protect_none(void* address, std::size_t bytes) noexcept {
    return mprotect(address, bytes, PROT_NONE) == 0 ? 0 : -errno;
}

void give_back_pages(void* address, std::size_t bytes) noexcept {
    madvise(address, bytes, MADV_DONTNEED);
}

std::size_t max_map_count() noexcept {
    return static_cast<std::size_t>(read_number("/proc/sys/vm/max_map_count", 65530));
}

unsigned available_cores() noexcept {
    cpu_set_t set;
    unsigned cores = sched_getaffinity(0, sizeof set, &set) == 0
                         ? static_cast<unsigned>(CPU_COUNT(&set))
                         : static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN));
    if (double quota = cgroup_cores(); quota > 0)
        cores = std::min(cores, static_cast<unsigned>(std::ceil(quota)));
    return std::max(cores, 1u);
}

int make_eventfd() noexcept {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

int make_epoll() noexcept {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

int epoll_add(int epoll_fd, int fd, std::uint32_t events, std::uint64_t data) noexcept {
    epoll_event event{};
    event.events = events | EPOLLET;
    event.data.u64 = data;
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

void epoll_delete(int epoll_fd, int fd) noexcept {
    epoll_event ignored{};
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, &ignored);
}

int epoll_wait_until(int epoll_fd, void* events, int capacity, TimePoint deadline) noexcept {
    auto* list = static_cast<epoll_event*>(events);
    timespec left{};
    timespec* limit = nullptr;
    if (deadline != lowlevel::kNever) {
        if (deadline != kAtOnce) left = to_timespec(deadline - std::chrono::steady_clock::now());
        limit = &left;
    }
    SignalsHeldBack held_back;
    long rc = syscall(SYS_epoll_pwait2, epoll_fd, list, capacity, limit, held_back.before(),
                      std::size_t{8});
    if (rc == -1 && errno == ENOSYS) {  // before Linux 5.11
        auto ms = limit == nullptr ? -1 : left.tv_sec * 1000 + (left.tv_nsec + 999'999) / 1'000'000;
        rc = epoll_pwait(epoll_fd, list, capacity, static_cast<int>(std::min<long>(ms, INT_MAX)),
                         held_back.before());
    }
    if (rc >= 0) return static_cast<int>(rc);
    return errno == EINTR ? 0 : -errno;
}

void ring(int event_fd) noexcept {
    std::uint64_t one = 1;
    // EAGAIN means that it is ringing already; EINTR cannot lose it since a non-blocking write does not wait.
    while (write(event_fd, &one, sizeof one) == -1 && errno == EINTR) {
    }
}

void silence(int event_fd) noexcept {
    std::uint64_t count = 0;
    while (read(event_fd, &count, sizeof count) == -1 && errno == EINTR) {
    }
}

void close_fd(int fd) noexcept { close(fd); }

unsigned long set_timer_slack_ns(unsigned long slack) noexcept {
    int old = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    prctl(PR_SET_TIMERSLACK, slack, 0, 0, 0);
    return old > 0 ? static_cast<unsigned long>(old) : 50'000UL;
}

}  // namespace weft::rt::sys
