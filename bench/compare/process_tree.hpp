// The memory of a model that has child processes, watched from outside while it runs.
//
// A process tells its own peak (VmHWM), but peaks of several processes must not be added up: they need
// not come at the same time, and pages shared after a fork would count in each. So the tree is sampled,
// adding the proportional set sizes, in which a page shared by n processes counts 1/n in each. Pages of
// files (the program itself, its libraries) count once, as the largest of them has them: as shares they
// would also be divided with processes outside of the tree. Only models that say has_children are
// watched: it costs a few per cent of a core, and a peak shorter than the interval is missed.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include <sys/types.h>

namespace weft_compare {

class ProcessTree {
public:
    static constexpr std::chrono::milliseconds kInterval{25};

    explicit ProcessTree(pid_t root) : root_(root), members_{root} {}

    void sample();
    std::uint64_t peak_bytes() const { return peak_bytes_; }

private:
    void find_members();

    // Looking for new processes reads all of /proc: after the start, when they come, it is done now and then.
    static constexpr unsigned kSamplesOfStart = 8;
    static constexpr unsigned kSamplesPerSearch = 4;

    pid_t root_;
    std::vector<pid_t> members_;
    unsigned samples_ = 0;
    std::uint64_t peak_bytes_ = 0;
};

}  // namespace weft_compare
