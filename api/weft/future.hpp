// Futures: the promise of a value that somebody sets later.
#pragma once

#include <weft/task.hpp>

#include <concepts>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

namespace weft {

namespace detail {

template <class T>
struct FutureCore : UntypedFuture {
    ResultSlot<T> result;
    explicit FutureCore(std::source_location made_at) noexcept : UntypedFuture(made_at) {
        ops = &kOps;
        word.reset(1);
    }
    static void destroy(Core& core) noexcept {
        auto& self = static_cast<FutureCore&>(core);
        if (self.outcome == Outcome::value) self.result.destroy();
        delete &self;
    }
    static constexpr CoreOps kOps{nullptr, destroy, nullptr};
};

void unclaim_outcome(Core& core) noexcept;
void set_future_error(Core& core, std::exception_ptr error);
[[noreturn]] void throw_already_set();
[[noreturn]] void throw_empty_future();

}  // namespace detail

/// A value to be set once, by anybody, and awaited by any number of tasks. A shared handle: copies are the same
/// future. Every member may be called from any thread; none waits (weft::await does). One that was moved from is empty:
/// InvalidStateError.
///
/// An error that nobody reads is reported when the last handle goes.
template <class T>
class Future {
public:
    using result_type = T;

    /// std::bad_alloc.
    Future(std::source_location where = std::source_location::current())
        : core_(detail::CoreRef::adopt(*new detail::FutureCore<T>(where))) {}
    explicit Future(detail::CoreRef core) noexcept : core_(std::move(core)) {}

    /// Sets the value and wakes who waits. InvalidStateError if something was set already, or it was cancelled. Also
    /// throws what the value's constructor throws, and then nothing was set. No lock is held while that runs, but others
    /// who set or cancel meanwhile come too late.
    template <class... V>
    void set_result(V&&... value) const {
        if (!try_set_result(std::forward<V>(value)...)) detail::throw_already_set();
    }
    /// The same; false if it is too late.
    template <class... V>
        requires(std::is_void_v<T> ? sizeof...(V) == 0 : sizeof...(V) == 1)
    bool try_set_result(V&&... value) const {
        if (!detail::claim_outcome(core_or_throw())) return false;
        try {
            slot().emplace_from([&]() -> T {
                if constexpr (!std::is_void_v<T>) return (std::forward<V>(value), ...);
            });
        } catch (...) {
            detail::unclaim_outcome(*core_);
            throw;
        }
        core_->outcome = detail::Outcome::value;
        detail::complete(*core_);
        return true;
    }
    /// Sets an error. InvalidStateError if it is too late; std::invalid_argument for a null exception_ptr.
    void set_exception(std::exception_ptr error) const {
        if (!try_set_exception(std::move(error))) detail::throw_already_set();
    }
    template <class E>
        requires(!std::convertible_to<E, std::exception_ptr>)
    void set_exception(E error) const {
        set_exception(std::make_exception_ptr(std::move(error)));
    }
    bool try_set_exception(std::exception_ptr error) const {
        detail::check_not_null(error);
        if (!detail::claim_outcome(core_or_throw())) return false;
        detail::set_future_error(*core_, std::move(error));
        return true;
    }
    /// Ends it with a CancelledError for all who wait. False: it is done.
    bool cancel(const std::string& message = {}) const {
        return detail::cancel_or_ignore(core_or_throw(), message);
    }

    bool done() const noexcept { return core_ && core_->word.done(); }
    bool cancelled() const noexcept {
        return done() && core_->outcome == detail::Outcome::cancelled;
    }
    /// As Task's.
    decltype(auto) result() const { return detail::read_result(core_or_throw(), slot()); }
    std::exception_ptr exception() const { return detail::read_exception(core_or_throw()); }

    /// Calls f(future) in a worker when it is done: scheduled, never inline. Needs a running runtime.
    template <std::invocable<const Future&> F>
    CallbackId add_done_callback(
        F&& f, std::source_location where = std::source_location::current()) const {
        detail::require_runtime("add_done_callback");
        return detail::add_done_callback(*this, std::forward<F>(f), where);
    }

    /// Takes a callback back that has not been scheduled yet. Returns how many there were: 1 or 0.
    std::size_t remove_done_callback(CallbackId id) const {
        return detail::remove_callback(core_or_throw(), id);
    }

    bool operator==(const Future&) const noexcept = default;
    detail::Core* core() const noexcept { return core_.get(); }
    detail::Core& core_or_throw() const {
        if (!core_) detail::throw_empty_future();
        return *core_;
    }

private:
    detail::ResultSlot<T>& slot() const {
        return static_cast<detail::FutureCore<T>&>(core_or_throw()).result;
    }
    detail::CoreRef core_;
};

/// Waits until the future is done; gives its value or throws its error. A cancel here cancels the future too.
template <class T>
decltype(auto) await(const Future<T>& future) {
    detail::await_core(future.core_or_throw());
    return future.result();
}
template <class T>
decltype(auto) await(Future<T>& future) {
    return await(static_cast<const Future<T>&>(future));
}
/// The same for a temporary or moved future: the value is moved out.
template <class T>
T await(Future<T>&& future) {
    detail::await_core(future.core_or_throw());
    return detail::take_result(*future.core(),
                               static_cast<detail::FutureCore<T>&>(*future.core()).result);
}

namespace detail {

// One view of everything that can be awaited beside others: `result_type`, the core, and how to get at the value.

template <class A>
struct Awaitable;

template <class R>
struct Awaitable<Task<R>> {
    using result_type = R;
    static ResultSlot<R>& slot(Core& core) noexcept { return result_of<R>(core); }
};
template <class T>
struct Awaitable<Future<T>> {
    using result_type = T;
    static ResultSlot<T>& slot(Core& core) noexcept {
        return static_cast<FutureCore<T>&>(core).result;
    }
};

template <class A>
concept Handle = requires { typename Awaitable<std::remove_cvref_t<A>>::result_type; };

/// A task or future as it is; anything else becomes a task.
template <class A>
decltype(auto) ensure_future(A&& awaitable, std::source_location where) {
    if constexpr (Handle<A>) {
        awaitable.core_or_throw();
        return std::remove_cvref_t<A>(awaitable);
    } else
        return create_task(std::forward<A>(awaitable), where);
}

/// The value, moved out where that is right: when the caller gave a temporary, or it cannot be copied.
template <class H>
auto value_of(const H& handle, bool may_take) -> ValueOf<typename Awaitable<H>::result_type> {
    using R = typename Awaitable<H>::result_type;
    Core& core = *handle.core();
    ResultSlot<R>& slot = Awaitable<H>::slot(core);
    if constexpr (std::is_void_v<R>) {
        read_result(core, slot);
        return {};
    } else if constexpr (std::is_reference_v<R>) {
        return read_result(core, slot);
    } else if constexpr (!std::is_copy_constructible_v<R>) {
        return take_result(core, slot);
    } else {
        return may_take ? take_result(core, slot) : R(read_result(core, slot));
    }
}

}  // namespace detail

}  // namespace weft
