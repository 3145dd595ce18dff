// What a child that is started by TaskGroup::start() says when it is ready (Trio's task_status).
//
// The child is a child of the group from the beginning: so the group waits for it, and cancels it. Only its error, as
// long as it has not said started(), does not reach the group: StartedChild catches it and leaves it for start().
//
// The gate lives in start()'s frame. The child touches it once, in started(), or not at all: start() does not return
// before that or before the child's end.
#pragma once

#include <weft/detail/result.hpp>
#include <weft/error.hpp>

#include <exception>
#include <string>
#include <type_traits>
#include <utility>

namespace weft {

template <class T>
class TaskStatus;

namespace detail {

/// Between start() and its child.
class StartGate : private JoinNode {
public:
    StartGate() noexcept { notify = on_child_end; }
    StartGate(const StartGate&) = delete;
    StartGate& operator=(const StartGate&) = delete;

    /// By the child. False: start() was cancelled before, and waits for the child's end.
    bool open() noexcept;
    /// By the child, in a catch (...) block, before open(): what start() shall throw. True: it is a CancelledError.
    bool fail() noexcept;
    /// By start(): returns when the gate is open. When the child ends before, throws what start() throws.
    void wait(TaskCore& child);

protected:
    ~StartGate() = default;

private:
    static void on_child_end(JoinNode& self, Core& child) noexcept;

    SpinLock
        lock_;  // guards what follows; start() alone reads it without, when the child has ended
    Waiter waiter_;
    bool open_ = false;
    bool ended_ = false;
    bool given_up_ = false;
    std::exception_ptr error_;
    bool child_cancelled_ = false;  // error_ is a CancelledError
};

template <class T>
class ValueGate : public StartGate {
public:
    ~ValueGate() {
        if (filled_) value_.destroy();
    }
    template <class... V>
    bool open_with(V&&... value) {
        value_.emplace_from([&]() -> T {
            if constexpr (!std::is_void_v<T>) return (std::forward<V>(value), ...);
        });
        filled_ = true;
        return open();
    }
    T take() { return static_cast<T>(value_.take()); }

private:
    ResultSlot<T> value_;
    bool filled_ = false;
};

[[noreturn]] void throw_started_twice();

/// What the child runs.
template <class T, class F>
struct StartedChild {
    ValueGate<T>* gate;
    F f;
    void operator()() &&;
};

}  // namespace detail

/// Given to a child by TaskGroup::start(). Lives as long as the child runs its function.
template <class T = void>
class TaskStatus {
public:
    TaskStatus(const TaskStatus&) = delete;
    TaskStatus& operator=(const TaskStatus&) = delete;

    /// Lets start() return, with this value; the child runs on. Without effect if start() has been cancelled. Never
    /// waits. For one thread at a time.
    /// @throws  UsageError the second time; what the value's constructor throws, and then nothing was said
    template <class... V>
        requires(std::is_void_v<T> ? sizeof...(V) == 0 : sizeof...(V) == 1)
    void started(V&&... value) {
        if (said_) detail::throw_started_twice();
        is_open_ = gate_.open_with(std::forward<V>(value)...);
        said_ = true;
    }

private:
    template <class, class>
    friend struct detail::StartedChild;
    explicit TaskStatus(detail::ValueGate<T>& gate) noexcept : gate_(gate) {}

    detail::ValueGate<T>& gate_;  // gone once it is open
    bool said_ = false;
    bool is_open_ = false;
};

template <class T, class F>
void detail::StartedChild<T, F>::operator()() && {
    TaskStatus<T> status(*gate);
    try {
        std::move(f)(status);
    } catch (...) {
        if (status.is_open_) throw;
        // One that was cancelled ends cancelled; another error is start()'s, and not the group's.
        if (gate->fail()) throw;
    }
}

}  // namespace weft
