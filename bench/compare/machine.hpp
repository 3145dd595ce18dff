// The machine that the figures belong to: without it they mean little.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace weft_compare {

struct Machine {
    std::string cpu;
    unsigned cores = 1;
    std::uint64_t memory_bytes = 0;
    std::string kernel;
    std::string compiler;
    std::optional<std::string> python;  // version; nothing where python3 is not there
};

// The cores that this process may use: the affinity mask, and the CPU quota of its control group.
unsigned available_cores();

Machine look_at_machine();

// How much of the machine's CPU time went elsewhere, from construction on: to other programs, or kept back by a
// hypervisor. Figures taken meanwhile are that much less worth.
class OtherLoad {
public:
    OtherLoad();
    double share() const;  // 0 to 1

private:
    struct Seconds {
        double busy = 0;  // all programs on all cores
        double all = 0;   // busy or not
        double ours = 0;  // this process and the children that it has waited for
    };
    static Seconds now();
    Seconds start_;
};

// "AMD EPYC, 2 cores, 23.5 GiB, Linux 6.1, g++ 12.2, CPython 3.11"
std::string describe(const Machine& machine);

}  // namespace weft_compare
