// What a process runs short of: limits of this one, put back at the end.
#pragma once

#include <cstddef>
#include <fstream>

#include <sys/resource.h>
#include <unistd.h>

#include "sanitizers.hpp"

namespace weft::test {

class Limit {
public:
    Limit(decltype(RLIMIT_NOFILE) which, rlim_t most) : which_(which) {
        ::getrlimit(which_, &before_);
        rlimit now = before_;
        now.rlim_cur = most;
        ::setrlimit(which_, &now);
    }
    ~Limit() { ::setrlimit(which_, &before_); }
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;

private:
    decltype(RLIMIT_NOFILE) which_;
    rlimit before_{};
};

/// Of this process, in bytes.
inline std::size_t address_space() {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// The sanitizers' own memory would fall under the limit too.
#if !WEFT_ASAN && !WEFT_TSAN
#define WEFT_TEST_CAN_LIMIT_MEMORY

/// A size of which no stack is left over from another test; and so large that what malloc and threads of another test give
/// back meanwhile makes no room for 64 of them.
inline std::size_t new_stack_size() {
    static std::size_t kib = 4096;
    return (kib += 4) * 1024;
}

/// While it lives this process gets a few MiB more at most: for what malloc is asked for, and not for threads nor for stacks
/// of a new size, which are made 64 at a time.
class NoMoreStacks : Limit {
public:
    NoMoreStacks() : Limit(RLIMIT_AS, address_space() + (4 << 20)) {}
};

#endif

}  // namespace weft::test
