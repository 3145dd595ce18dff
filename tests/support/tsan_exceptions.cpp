// What orders the threads that share one exception is the count in its header, and libstdc++.so,
// which counts, is not built with ThreadSanitizer: the tool would take one thread's what() and the
// destructor that another's last release runs for a race. So under the tool the programs of the
// tests count here. A program that links this file replaces two functions of the C++ library; all
// else of it, throw and rethrow_exception included, stays as it is.
#include "sanitizers.hpp"

#if WEFT_TSAN

#include <cstddef>
#include <exception>

#include <dlfcn.h>

namespace {

// Where __cxa_refcounted_exception keeps its count, from the object thrown: at the beginning of the
// header of 128 bytes that lies before each primary exception (unwind-cxx.h, LP64).
int& count_of(void* object) {
    constexpr std::ptrdiff_t kHeader = 128;
    return *reinterpret_cast<int*>(static_cast<char*>(object) - kHeader);
}

template <class Function>
Function* next(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// All but the last holder count down here, releasing what they did with the object; the last one
// has acquired that before the library's own code destroys the object.
void std::__exception_ptr::exception_ptr::_M_release() noexcept {
    static auto* const destroy_last =
        next<void(exception_ptr*)>("_ZNSt15__exception_ptr13exception_ptr10_M_releaseEv");
    if (_M_exception_object == nullptr) return;
    int& count = count_of(_M_exception_object);
    int now = __atomic_load_n(&count, __ATOMIC_ACQUIRE);
    while (now > 1)
        if (__atomic_compare_exchange_n(&count, &now, now - 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return;
    destroy_last(this);
}

// The end of a catch counts down inside the library; with a reference of ours held meanwhile it is
// never the last.
extern "C" void __cxa_end_catch() {
    static auto* const end_catch = next<void()>("__cxa_end_catch");
    std::exception_ptr keep = std::current_exception();
    end_catch();
}

#endif
