// What a child does with objects of its parent's whose destructors would wait for threads that it has not.
#pragma once

#include "sanitizers.hpp"

namespace weft::rt {

/// It is never destroyed, on purpose: no leak to LeakSanitizer, nor is what it refers to.
inline void leave_alone([[maybe_unused]] const void* object) noexcept {
#if WEFT_ASAN
    __lsan_ignore_object(object);
#endif
}

}  // namespace weft::rt
