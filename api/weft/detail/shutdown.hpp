// How executors are shut down.
#pragma once

#include <cstdint>

namespace weft {

/// What becomes of the calls that an executor has when it is shut down.
enum class Shutdown : std::uint8_t {
    drain,  ///< they come to their ends
    kill,  ///< those that have not begun end with Error; those that run are stopped, or asked to stop where they cannot be
};

}  // namespace weft
