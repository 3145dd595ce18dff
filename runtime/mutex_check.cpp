// Counts the mutexes that each thread holds, for debug mode: a task that waits under one stops its worker for ever
// when the next task there locks it.
//
// This is all there is in weft::mutex_check, which a program links on purpose. It stands before libc's functions of the
// same names, and std::mutex comes by here since these are what it calls. A condition variable gives its mutex back and
// takes it again within libc, unseen, so that the count is right before and after.
#include <atomic>
#include <cerrno>
#include <ctime>

#include <dlfcn.h>
#include <pthread.h>

namespace {

thread_local int held = 0;

/// libc's own function. Looked up at the first call, which may come before any constructor of this program.
template <class Function>
class Real {
public:
    constexpr explicit Real(const char* name) noexcept : name_(name) {}
    template <class... Args>
    int operator()(Args... args) noexcept {
        // order [mutex_check.1]: relaxed - everybody finds the same address.
        Function* function = function_.load(std::memory_order_relaxed);
        if (function == nullptr) {
            function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name_));
            function_.store(function, std::memory_order_relaxed);
        }
        return function(args...);
    }

private:
    const char* name_;
    std::atomic<Function*> function_{nullptr};
};

constinit Real<int(pthread_mutex_t*)> real_lock{"pthread_mutex_lock"};
constinit Real<int(pthread_mutex_t*)> real_trylock{"pthread_mutex_trylock"};
constinit Real<int(pthread_mutex_t*, const timespec*)> real_timedlock{"pthread_mutex_timedlock"};
constinit Real<int(pthread_mutex_t*, clockid_t, const timespec*)> real_clocklock{
    "pthread_mutex_clocklock"};
constinit Real<int(pthread_mutex_t*)> real_unlock{"pthread_mutex_unlock"};

int count(int error) noexcept {
    if (error == 0 || error == EOWNERDEAD) ++held;
    return error;
}

}  // namespace

extern "C" {

/// For libweft, which asks only if there is such a function.
int weft_held_mutexes() noexcept { return held; }

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept { return count(real_lock(mutex)); }

int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept { return count(real_trylock(mutex)); }

int pthread_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) noexcept {
    return count(real_timedlock(mutex, until));
}

int pthread_mutex_clocklock(pthread_mutex_t* mutex, clockid_t clock,
                            const timespec* until) noexcept {
    return count(real_clocklock(mutex, clock, until));
}

int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept {
    int error = real_unlock(mutex);
    if (error == 0) --held;
    return error;
}
}
