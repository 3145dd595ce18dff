// Who wakes whom on which core decides what a hand-off between threads takes: on one core it is a switch of threads, on two it
// wakes a core that sleeps (about 20 us in a virtual machine).
#pragma once

#include <thread>

#include <sched.h>

#include "measure.hpp"

namespace micro {

enum class Cores { any, same, other };

/// While it lives, this thread is on one core (or, with `any`, wherever the kernel likes), and so are the threads that it
/// starts.
class Pinning {
public:
    explicit Pinning(Cores cores) : cores_(cores) {
        require(sched_getaffinity(0, sizeof before_, &before_) == 0, "sched_getaffinity");
        if (cores_ != Cores::any) pin_to(nth_core(0));
    }
    ~Pinning() { sched_setaffinity(0, sizeof before_, &before_); }
    Pinning(const Pinning&) = delete;
    Pinning& operator=(const Pinning&) = delete;

    static bool possible(Cores cores) {
        return cores != Cores::other || std::thread::hardware_concurrency() > 1;
    }
    /// The calling thread goes where the other side shall be.
    void pin_other() const {
        if (cores_ == Cores::other) pin_to(nth_core(1));
    }

private:
    int nth_core(int n) const {
        for (int core = 0; core < CPU_SETSIZE; ++core)
            if (CPU_ISSET(core, &before_) && n-- == 0) return core;
        return 0;
    }
    static void pin_to(int core) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(core, &set);
        require(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
    }

    Cores cores_;
    cpu_set_t before_{};
};

}  // namespace micro
