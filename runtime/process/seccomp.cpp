// A program of classic BPF, made by hand: some comparisons a number. libseccomp would do it as well,
// and would be one more library that every program of weft's users is linked with.
#include "process/seccomp.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include <fcntl.h>
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

/// What no worker can do without: to take a call, to answer, to have memory, to wait, to end. None
/// of it reaches another process. Four more are in confine(), with what they may be asked.
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
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_getcpu,
    SYS_sched_getaffinity,
    SYS_getpid,
    SYS_gettid,
    SYS_getrandom,
    SYS_sysinfo,
    SYS_getrusage,
    SYS_getrlimit,
    SYS_setrlimit,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
    SYS_rseq,
    SYS_set_robust_list,
};

class Program {
public:
    /// The numbers of another architecture (a 32-bit program's) mean other calls.
    Program() {
        load(offsetof(seccomp_data, arch));
        add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0));
        give(SECCOMP_RET_KILL_PROCESS);
        load(offsetof(seccomp_data, nr));
    }
    void give_for(int number, unsigned action) {
        skip_unless(static_cast<unsigned>(number), 1);
        give(action);
    }
    /// Where its argument of that place is one of these. The lower half of it: they are all ints.
    void allow_if(int number, std::size_t argument, std::initializer_list<unsigned> values) {
        skip_unless(static_cast<unsigned>(number),
                    static_cast<unsigned char>(2 + 2 * values.size()));
        load(offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t));
        for (unsigned value : values) {
            skip_unless(value, 1);
            give(SECCOMP_RET_ALLOW);
        }
        give(SECCOMP_RET_KILL_PROCESS);
    }
    int install() {
        give(SECCOMP_RET_KILL_PROCESS);
        sock_fprog filter{static_cast<unsigned short>(length_), instructions_.data()};
        long done =
            ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
        // A positive number is a thread that could not be confined, as it has a filter of its own.
        return done == 0 ? 0 : done > 0 ? -EPERM : -errno;
    }

private:
    void load(std::size_t field) {
        add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(field)));
    }
    void skip_unless(unsigned value, unsigned char instructions) {
        add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, instructions));
    }
    void give(unsigned action) { add(BPF_STMT(BPF_RET | BPF_K, action)); }
    void add(sock_filter instruction) { instructions_[length_++] = instruction; }

    // Two a number, and room for the rest.
    std::array<sock_filter, 2 * kNumbersEnd + 64> instructions_{};
    std::size_t length_ = 0;
};

}  // namespace

int confine(const detail::SystemCalls& allowed) noexcept {
    if (allowed.are_all()) return 0;
    if (kArchitecture == 0) return -ENOSYS;
    Program program;
    for (int number = 0; number < kNumbersEnd; ++number) {
        bool always = std::ranges::find(kComputing, number) != kComputing.end();
        if (always || allowed.contain(number)) program.give_for(number, SECCOMP_RET_ALLOW);
    }
    // What was listed is met before these.
    auto self = static_cast<unsigned>(::getpid());
    program.allow_if(SYS_tgkill, 0, {self});
    program.allow_if(SYS_prlimit64, 0, {0, self});
    // Not F_SETOWN: it has the kernel send any signal to anybody.
    program.allow_if(SYS_fcntl, 1,
                     {F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_ADD_SEALS, F_GET_SEALS});
    // stdio asks whether it writes to a terminal, and takes no for an answer.
    program.give_for(SYS_ioctl, SECCOMP_RET_ERRNO | ENOTTY);
    return program.install();
}

}  // namespace weft::rt::process

namespace weft::detail {

SystemCalls SystemCalls::only(std::initializer_list<int> numbers) {
    SystemCalls calls;
    calls.all_ = false;
    for (int number : numbers) {
        if (number < 0 || number >= kNumbersEnd) {
            throw std::invalid_argument("weft::SystemCalls: no system call has the number " +
                                        std::to_string(number));
        }
        auto bit = static_cast<unsigned>(number);
        calls.listed_[bit / 64] |= std::uint64_t{1} << (bit % 64);
    }
    return calls;
}

}  // namespace weft::detail
