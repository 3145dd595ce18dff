// Two kinds of error: the user's mistake throws, ours prints and aborts. This is ours.
#pragma once

#include <source_location>

namespace weft::rt {

/// One line on stderr.
void complain(const char* line) noexcept;

[[noreturn]] void die(const char* what, const std::source_location& where) noexcept;

/// Always on: for conditions whose failure means that the runtime itself is broken.
inline void check(bool condition, const char* what,
                  const std::source_location& where = std::source_location::current()) noexcept {
    if (!condition) [[unlikely]]
        die(what, where);
}

}  // namespace weft::rt
