// A program of classic BPF, made by hand: a comparison a number. libseccomp would do it as well, and
// would be one more library that every program of weft's users is linked with, for twenty lines.
#include "process/seccomp.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <stdexcept>
#include <string>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::rt::process {

namespace {

#if defined(__x86_64__)
constexpr unsigned kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr unsigned kArchitecture = 0;
#endif

constexpr int kNumbersEnd = detail::SystemCalls::kNumbersEnd;
constexpr std::size_t kAround = 5;  // instructions, beside two a number

/// Loads what `field` of seccomp_data holds.
sock_filter load(std::size_t field) noexcept {
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(field));
}
sock_filter skip_unless(unsigned value, unsigned char instructions) noexcept {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, instructions);
}
sock_filter give(unsigned action) noexcept { return BPF_STMT(BPF_RET | BPF_K, action); }

}  // namespace

int confine(const detail::SystemCalls& allowed) noexcept {
    if (allowed.are_all()) return 0;
    if (kArchitecture == 0) return -ENOSYS;
    std::array<sock_filter, kAround + 2 * kNumbersEnd> program{};
    unsigned short length = 0;
    auto add = [&](sock_filter instruction) { program[length++] = instruction; };
    // The numbers of another architecture (a 32-bit program's) mean other calls.
    add(load(offsetof(seccomp_data, arch)));
    add(skip_unless(kArchitecture, 1));
    add(load(offsetof(seccomp_data, nr)));
    for (int number = 0; number < kNumbersEnd; ++number) {
        if (!allowed.contain(number)) continue;
        add(skip_unless(static_cast<unsigned>(number), 1));
        add(give(SECCOMP_RET_ALLOW));
    }
    add(give(SECCOMP_RET_KILL_PROCESS));
    sock_fprog filter{length, program.data()};
    long done = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
    // A positive number is a thread that could not be confined, as it has a filter of its own.
    return done == 0 ? 0 : done > 0 ? -EPERM : -errno;
}

}  // namespace weft::rt::process

namespace weft::detail {

namespace {

/// What no worker can do without: to take a call, to answer, to have memory, to wait, to end.
constexpr std::array kComputing = {
    SYS_read,
    SYS_readv,
    SYS_write,
    SYS_writev,
    SYS_pwrite64,
    SYS_pread64,
    SYS_lseek,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_fcntl,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_memfd_create,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_brk,
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_futex,
    SYS_membarrier,
    SYS_sched_yield,
    SYS_nanosleep,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_clock_nanosleep,
    SYS_getcpu,
    SYS_sched_getaffinity,
    SYS_getpid,
    SYS_gettid,
    SYS_getrandom,
    SYS_sysinfo,
    SYS_getrusage,
    SYS_getrlimit,
    SYS_setrlimit,
    SYS_prlimit64,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_tgkill,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
    SYS_rseq,
    SYS_set_robust_list,
};

}  // namespace

SystemCalls SystemCalls::only(std::initializer_list<int> numbers) {
    SystemCalls calls;
    calls.all_ = false;
    auto allow = [&](long number) {
        if (number < 0 || number >= kNumbersEnd) {
            throw std::invalid_argument("weft::SystemCalls: no system call has the number " +
                                        std::to_string(number));
        }
        auto bit = static_cast<unsigned>(number);
        calls.listed_[bit / 64] |= std::uint64_t{1} << (bit % 64);
    };
    std::ranges::for_each(kComputing, allow);
    std::ranges::for_each(numbers, allow);
    return calls;
}

}  // namespace weft::detail
