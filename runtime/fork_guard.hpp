// fork() in a process with a running runtime gives a child with one thread, and locks held by threads that are not
// there. Such a child may exec or _exit; any use of weft in it says so and aborts, instead of hanging.
#pragma once

#include <weft/detail/engine.hpp>

namespace weft::rt {

/// While one lives, a fork makes weft unusable in the child.
class ForkForbidden {
public:
    ForkForbidden() noexcept;
    ~ForkForbidden();
    ForkForbidden(const ForkForbidden&) = delete;
    ForkForbidden& operator=(const ForkForbidden&) = delete;
};

}  // namespace weft::rt
