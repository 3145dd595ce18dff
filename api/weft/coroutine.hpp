// Coroutine objects: a call that has not happened yet.
//
// In Python a coroutine function, called, gives an object, and nothing runs until it is awaited. A fiber can simply
// call functions that wait, so most programs need no such object; where the object is the point (to pass it to
// gather, create_task, wait_for) weft::async makes one from a function, and weft::coroutine from a lambda.
#pragma once

#include <weft/error.hpp>
#include <weft/lowlevel.hpp>

#include <concepts>
#include <memory>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace weft {

template <class R>
class Coroutine;

namespace detail {

/// "coroutine 'name' was never awaited", on stderr.
void warn_never_awaited(const char* name, const std::source_location& where) noexcept;
[[noreturn]] void throw_already_awaited();

/// The call, kept: move-only, one allocation.
template <class R>
struct Call {
    const char* name;
    std::source_location where;
    Call(const char* n, std::source_location w) noexcept : name(n), where(w) {}
    virtual ~Call() = default;
    virtual R run() = 0;
};

template <class R, class F>
struct CallOf final : Call<R> {
    F f;
    CallOf(F&& function, const char* n, std::source_location w)
        : Call<R>(n, w), f(std::move(function)) {}
    R run() override { return std::move(f)(); }
};

/// A function with arguments of its own, as std::thread keeps them; std::ref keeps a reference.
template <class F, class... Args>
struct BoundCall {
    F f;
    std::tuple<std::unwrap_ref_decay_t<Args>...> args;
    decltype(auto) operator()() && { return std::apply(std::move(f), std::move(args)); }
};

}  // namespace detail

/// A call to be awaited once: by await, create_task, gather, wait_for, run. Dropped without that, it is reported on
/// stderr with its name or the place where it was made.
template <class R>
class [[nodiscard]] Coroutine {
public:
    using result_type = R;

    template <class F>
        requires(std::is_invocable_r_v<R, F &&> && !std::same_as<std::remove_cvref_t<F>, Coroutine>)
    explicit Coroutine(F&& f, const char* name = nullptr,
                       std::source_location where = std::source_location::current())
        : call_(std::make_unique<detail::CallOf<R, std::decay_t<F>>>(
              std::decay_t<F>(std::forward<F>(f)), name, where)) {}
    Coroutine(Coroutine&&) noexcept = default;
    Coroutine& operator=(Coroutine&& other) noexcept {
        if (this != &other) {
            drop();
            call_ = std::move(other.call_);
        }
        return *this;
    }
    ~Coroutine() { drop(); }

    /// Runs it, here and now. weft::await(std::move(c)) is the usual spelling. UsageError if it has been awaited.
    R operator()() && {
        if (call_ == nullptr) detail::throw_already_awaited();
        auto call = std::move(call_);
        return call->run();
    }

    /// Gives it up unrun, without a report (asyncio's coroutine.close()).
    void close() noexcept { call_.reset(); }
    const char* name() const noexcept { return call_ != nullptr ? call_->name : nullptr; }
    /// Whether it can still be awaited.
    explicit operator bool() const noexcept { return call_ != nullptr; }

private:
    void drop() noexcept {
        if (call_ != nullptr) detail::warn_never_awaited(call_->name, call_->where);
    }
    std::unique_ptr<detail::Call<R>> call_;
};

/// Python's `async def`: makes a function whose calls are Coroutine objects.
///
///     auto fetch = weft::async("fetch", [](int id) { weft::sleep(1s); return id; });
///     int id = weft::await(fetch(7));
template <class F>
class CoroutineFunction {
public:
    CoroutineFunction(F f, const char* name,
                      std::source_location where) noexcept(std::is_nothrow_move_constructible_v<F>)
        : f_(std::move(f)), name_(name), where_(where) {}

    /// Arguments are moved or copied into the object; std::ref passes a reference.
    template <class... Args>
    auto operator()(Args&&... args) const {
        using Bound = detail::BoundCall<F, Args...>;
        using R = std::invoke_result_t<Bound&&>;
        return Coroutine<R>(Bound{f_, {std::forward<Args>(args)...}}, name_, where_);
    }

private:
    F f_;
    const char* name_;
    std::source_location where_;
};

template <class F>
auto async(F f, std::source_location where = std::source_location::current()) {
    return CoroutineFunction<F>(std::move(f), nullptr, where);
}
template <class F>
auto async(const char* name, F f, std::source_location where = std::source_location::current()) {
    return CoroutineFunction<F>(std::move(f), name, where);
}

/// A coroutine object from a callable without arguments: for functions that return one.
///
///     weft::Coroutine<int> twice(int x) { return weft::coroutine([x] { return 2 * x; }); }
template <class F>
auto coroutine(F&& f, std::source_location where = std::source_location::current()) {
    return Coroutine<std::invoke_result_t<std::decay_t<F>&&>>(std::forward<F>(f), nullptr, where);
}
template <class F>
auto coroutine(const char* name, F&& f,
               std::source_location where = std::source_location::current()) {
    return Coroutine<std::invoke_result_t<std::decay_t<F>&&>>(std::forward<F>(f), name, where);
}

/// Runs a coroutine object to its end, inline: in this task, on this stack, with these context variables.
/// Waits where the function waits. UsageError outside of a task.
template <class R>
R await(Coroutine<R>&& coroutine) {
    lowlevel::require_task("await");
    return std::move(coroutine)();
}

template <class R>
R await(Coroutine<R>& coroutine) {
    return await(std::move(coroutine));
}

}  // namespace weft
