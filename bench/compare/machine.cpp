// Asking the system about itself; see machine.hpp.
#include "machine.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "format.hpp"
#include "measure.hpp"
#include "python.hpp"

namespace weft_compare {
namespace {

#ifdef __clang__
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "g++ " __VERSION__;
#endif

// A mask for more cores than cpu_set_t has (1024) is not worth the code: then the count is the
// machine's.
unsigned cores_by_affinity() {
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0) return std::thread::hardware_concurrency();
    return static_cast<unsigned>(CPU_COUNT(&set));
}

// Control groups, version 2: "<quota> <period>" of this process's own group. 0 where there is no
// limit.
unsigned cores_by_quota() {
    std::ifstream self("/proc/self/cgroup");
    std::string group;
    while (std::getline(self, group) && group.rfind("0::", 0) != 0) {
    }
    if (group.size() < 3) return 0;
    std::ifstream limit("/sys/fs/cgroup" + group.substr(3) + "/cpu.max");
    double quota = 0;
    double period = 0;
    if (!(limit >> quota >> period) || period <= 0) return 0;  // "max 100000" is no number
    return static_cast<unsigned>(std::ceil(quota / period));
}

std::string field_of(const char* path, const std::string& field) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        const std::size_t colon = line.find(':');
        if (colon == line.npos || line.compare(0, field.size(), field) != 0) continue;
        return line.substr(std::min(line.size(), line.find_first_not_of(" \t", colon + 1)));
    }
    return {};
}

}  // namespace

unsigned available_cores() {
    const unsigned quota = cores_by_quota();
    const unsigned mask = cores_by_affinity();
    return std::max(1u, quota == 0 ? mask : std::min(mask, quota));
}

OtherLoad::OtherLoad() : start_(now()) {}

// The first line of /proc/stat: user nice system idle iowait irq softirq steal guest guest_nice, in clock ticks;
// the last two are counted in the first two already.
OtherLoad::Seconds OtherLoad::now() {
    constexpr int kColumns = 8;
    constexpr int kIdle = 3;
    constexpr int kIoWait = 4;
    std::ifstream stat("/proc/stat");
    std::string cpu;
    stat >> cpu;
    const double tick_s = 1.0 / static_cast<double>(::sysconf(_SC_CLK_TCK));
    Seconds seconds;
    double ticks = 0;
    for (int column = 0; column < kColumns && stat >> ticks; ++column) {
        seconds.all += ticks * tick_s;
        if (column != kIdle && column != kIoWait) seconds.busy += ticks * tick_s;
    }
    seconds.ours = cpu_seconds_self() + cpu_seconds_children();
    return seconds;
}

double OtherLoad::share() const {
    const Seconds end = now();
    const double all = end.all - start_.all;
    const double others = end.busy - start_.busy - (end.ours - start_.ours);
    return all > 0 ? std::clamp(others / all, 0.0, 1.0) : 0;
}

Machine look_at_machine() {
    Machine machine;
    machine.cpu = field_of("/proc/cpuinfo", "model name");
    if (machine.cpu.empty()) machine.cpu = "unknown CPU";
    machine.cores = available_cores();
    machine.memory_bytes =
        std::strtoull(field_of("/proc/meminfo", "MemTotal").c_str(), nullptr, 10) * 1024;
    utsname system{};
    ::uname(&system);
    machine.kernel = fmt::format("{} {}", system.sysname, system.release);
    machine.compiler = kCompiler;
    machine.python = find_python();
    return machine;
}

std::string describe(const Machine& machine) {
    return fmt::format("{}, {}, {}, {}, {}, {}", machine.cpu, plural(machine.cores, "core"),
                       bytes_text(static_cast<double>(machine.memory_bytes)), machine.kernel,
                       machine.compiler,
                       machine.python ? "CPython " + *machine.python : "no python3");
}

}  // namespace weft_compare
