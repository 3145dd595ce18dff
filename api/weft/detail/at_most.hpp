// A bound that a call is given as its first argument.
#pragma once

#include <cstddef>

namespace weft {

/// How many of a call's awaitables may run at once, or threads work on it; see at_most().
struct AtMost {
    std::size_t n;
};

/// gather(at_most(8), range): no more than 8 of them run at once. to_arena(at_most(2), f): no more than 2 threads work on it.
/// std::invalid_argument for 0.
AtMost at_most(std::size_t n);

}  // namespace weft
