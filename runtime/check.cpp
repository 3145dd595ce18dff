#include "check.hpp"

#include <cstdio>
#include <cstdlib>

namespace weft::rt {

void complain(const char* line) noexcept { std::fprintf(stderr, "%s\n", line); }

void die(const char* what, const std::source_location& where) noexcept {
    std::fprintf(stderr, "weft: fatal: %s (%s:%u)\n", what, where.file_name(), where.line());
    std::abort();
}

}  // namespace weft::rt
