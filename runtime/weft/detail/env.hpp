// The seam between the lock-free rooms and the machine.
//
// Every protocol that several threads touch without a lock (task word, deque, idle) is a template on an Env that
// gives it its atomics. In production that is std::atomic and costs nothing; in tests/model it is an explorer in
// which each operation is a point where the schedule can turn.
#pragma once

#include <atomic>

namespace weft::detail {

struct StdEnv {
    template <class T>
    using atomic = std::atomic<T>;
};

inline void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield" ::: "memory");
#endif
}

}  // namespace weft::detail
