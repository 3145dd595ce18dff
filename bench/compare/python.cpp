// Finding and becoming python3; see python.hpp.
#include "python.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weft_compare {
namespace {

// rows.py without its first line's R"""( which here opens the raw string.
constexpr const char* kProgramBody =
#include "python/rows.py"
    ;

}  // namespace

std::optional<std::string> find_python() {
    // 3.9 brought asyncio.to_thread and is what the oldest supported distributions have.
    constexpr const char* kAsk =
        "python3 -I -c 'import sys, hashlib, multiprocessing; "
        "print(\"%d.%d.%d\" % sys.version_info[:3] if sys.version_info >= (3, 9) and "
        "sys.implementation.name == \"cpython\" else \"\")' 2>/dev/null";
    std::FILE* const answer = ::popen(kAsk, "r");
    if (answer == nullptr) return std::nullopt;
    std::array<char, 64> line{};
    const bool read = std::fgets(line.data(), line.size(), answer) != nullptr;
    const bool ended_well = ::pclose(answer) == 0;
    std::string version = line.data();
    version.resize(version.find_last_not_of('\n') + 1);
    if (!read || !ended_well || version.empty()) return std::nullopt;
    return version;
}

int exec_python(std::string_view model_key, const std::string& plan_path) {
    const std::string key(model_key);
    const std::string program = std::string("R\"\"\"(") + kProgramBody;
    ::execlp("python3", "python3", "-I", "-c", program.c_str(), key.c_str(), plan_path.c_str(),
             nullptr);
    fmt::print(stderr, "python3: {}\n", std::generic_category().message(errno));
    return 1;
}

}  // namespace weft_compare
