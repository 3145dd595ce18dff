// What the tests of user code that calls back share: objects that call when they are moved, compared or destroyed.
#pragma once

#include <functional>
#include <utility>

#include "api/core_support.hpp"

namespace weft::test {

/// Calls f when it is destroyed, unless it has been moved from.
class AtEnd {
public:
    explicit AtEnd(std::function<void()> f) : f_(std::move(f)) {}
    AtEnd(AtEnd&& other) noexcept : f_(std::exchange(other.f_, nullptr)) {}
    AtEnd& operator=(AtEnd&& other) noexcept {
        std::swap(f_, other.f_);
        return *this;
    }
    ~AtEnd() {
        if (f_) f_();
    }

private:
    std::function<void()> f_;
};

/// Calls `hook` when it is moved, compared or destroyed, but not while one runs.
struct Caller {
    static inline std::function<void()> hook;
    static inline std::atomic<bool> inside{false};
    static inline std::atomic<int> calls{0};

    int value;

    explicit Caller(int v) : value(v) {}
    Caller(Caller&& other) : value(other.value) { call(); }
    Caller& operator=(Caller&& other) {
        value = other.value;
        call();
        return *this;
    }
    ~Caller() { call(); }
    bool operator<(const Caller& other) const {
        call();
        return value < other.value;
    }
    static void call() {
        if (!hook || inside.exchange(true)) return;
        hook();
        ++calls;
        inside = false;
    }
};

/// While it lives, this is the hook. It has been called when it goes.
class Hook {
public:
    explicit Hook(std::function<void()> f) {
        Caller::calls = 0;
        Caller::hook = std::move(f);
    }
    ~Hook() {
        Caller::hook = nullptr;
        EXPECT_GT(Caller::calls, 0);
    }
    Hook(const Hook&) = delete;
    Hook& operator=(const Hook&) = delete;
};

}  // namespace weft::test
