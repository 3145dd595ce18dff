// Reading /proc for a tree of processes; see process_tree.hpp.
#include "process_tree.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace weft_compare {
namespace {

// The sum of some "Name:   123 kB" lines of a file below /proc/<pid>; 0 where the process has
// ended.
std::uint64_t bytes_in(pid_t pid, const char* file, std::initializer_list<std::string_view> names) {
    std::ifstream lines(fmt::format("/proc/{}/{}", pid, file));
    std::uint64_t sum_kib = 0;
    for (std::string word; lines >> word;) {
        std::uint64_t kib = 0;
        if (std::find(names.begin(), names.end(), word) == names.end()) continue;
        if (lines >> kib) sum_kib += kib;
    }
    return sum_kib * 1024;
}

// The parent's id; 0 where the process is gone.
pid_t parent_of(pid_t pid) {
    std::ifstream stat(fmt::format("/proc/{}/stat", pid));
    // "1234 (name) S 1 ...": the name may hold spaces and brackets, so count from its last bracket.
    stat.ignore(std::numeric_limits<std::streamsize>::max(), ')');
    std::string rest;
    std::getline(stat, rest);
    if (const std::size_t bracket = rest.rfind(')'); bracket != rest.npos) {
        rest.erase(0, bracket + 1);
    }
    pid_t parent = 0;
    if (rest.size() > 3) std::from_chars(rest.data() + 3, rest.data() + rest.size(), parent);
    return parent;
}

}  // namespace

void ProcessTree::find_members() {
    std::vector<std::pair<pid_t, pid_t>> all;  // process, its parent
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
        const std::string name = entry.path().filename().string();
        pid_t pid = 0;
        const auto [end, bad] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (bad == std::errc{} && *end == '\0') all.emplace_back(pid, parent_of(pid));
    }
    members_.assign({root_});
    for (std::size_t i = 0; i < members_.size(); ++i) {
        const pid_t parent = members_[i];
        for (const auto& [pid, its_parent] : all) {
            if (its_parent == parent) members_.push_back(pid);
        }
    }
}

void ProcessTree::sample() {
    if (samples_ < kSamplesOfStart || samples_ % kSamplesPerSearch == 0) find_members();
    ++samples_;
    std::uint64_t own = 0;
    std::uint64_t files = 0;
    for (const pid_t member : members_) {
        own += bytes_in(member, "smaps_rollup", {"Pss_Anon:", "Pss_Shmem:"});
        files = std::max(files, bytes_in(member, "status", {"RssFile:"}));
    }
    peak_bytes_ = std::max(peak_bytes_, own + files);
}

}  // namespace weft_compare
