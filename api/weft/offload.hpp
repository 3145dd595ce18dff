// Leaving the fibers: to_thread for calls that block, to_arena for data-parallel CPU work. (Processes: process.hpp.)
//
// A task that blocked its worker would hold up every other task of that worker. These run the function elsewhere; the
// task waits as it waits for anything, and gets the value or the exception.
#pragma once

#include <weft/capacity_limiter.hpp>
#include <weft/detail/at_most.hpp>
#include <weft/detail/offload_call.hpp>
#include <weft/detail/result.hpp>

#include <atomic>
#include <concepts>
#include <memory>
#include <stop_token>
#include <tuple>
#include <type_traits>
#include <utility>

namespace weft {

/// to_thread's first argument when a cancel shall not wait for the function.
struct AbandonOnCancel {};
inline constexpr AbandonOnCancel abandon_on_cancel{};

namespace detail {

template <class F, class... Args>
decltype(auto) call_with_token(std::stop_token token, F&& f, Args&&... args) {
    if constexpr (std::is_invocable_v<F, std::stop_token, Args...>)
        return std::forward<F>(f)(std::move(token), std::forward<Args>(args)...);
    else
        return std::forward<F>(f)(std::forward<Args>(args)...);
}

// Not decltype of a call of the above: its body would be looked into for overloads that do not fit.
template <bool kTakesToken, class F, class... Args>
struct OffloadResultOf : std::invoke_result<F, Args...> {};
template <class F, class... Args>
struct OffloadResultOf<true, F, Args...> : std::invoke_result<F, std::stop_token, Args...> {};
template <class F, class... Args>
using OffloadResult =
    typename OffloadResultOf<std::is_invocable_v<F, std::stop_token, Args...>, F, Args...>::type;

template <class F, class... Args>
concept Offloadable =
    std::is_invocable_v<F, Args...> || std::is_invocable_v<F, std::stop_token, Args...>;

template <class F, class... Args>
inline constexpr bool kTakesToken = std::is_invocable_v<F, std::stop_token, Args...>;

/// A call that waits in the caller's frame: `f` is referred to, not copied.
template <class R, class F>
struct LocalCall : OffloadCall {
    F& f;
    ResultSlot<R> result;
    bool has_value = false;

    LocalCall(F& function, bool takes_token) : f(function) {
        if (takes_token) stop = std::stop_source();
        run = [](OffloadCall& call) noexcept {
            auto& self = static_cast<LocalCall&>(call);
            try {
                self.result.emplace_from([&]() -> R { return self.f(self.stop.get_token()); });
                self.has_value = true;
            } catch (...) {
                self.error = std::current_exception();
            }
        };
    }
    ~LocalCall() {
        if (has_value) result.destroy();
    }
    R take() {
        if (error != nullptr) std::rethrow_exception(error);
        return static_cast<R>(result.take());
    }
};

/// A call that may be left behind: it owns what it needs, and two sides hold it.
template <class R, class F>
struct SharedCall : LocalCall<R, F> {
    F owned;
    std::atomic<int> holders{2};
    SharedCall(F&& function, bool takes_token)
        : LocalCall<R, F>(owned, takes_token), owned(std::move(function)) {
        this->release = [](OffloadCall& call) noexcept {
            auto& self = static_cast<SharedCall&>(call);
            if (self.holders.fetch_sub(1) == 1) delete &self;
        };
    }
};

struct ReleaseCall {
    void operator()(OffloadCall* call) const noexcept { call->release(*call); }
};

/// A token for the length of a block, lent to the block itself: so the task may have one of its own besides.
class BorrowedToken {
public:
    explicit BorrowedToken(CapacityLimiter& limiter) : limiter_(limiter) {
        limiter.acquire_on_behalf_of(this);
    }
    ~BorrowedToken() { limiter_.release_on_behalf_of(this); }
    BorrowedToken(const BorrowedToken&) = delete;
    BorrowedToken& operator=(const BorrowedToken&) = delete;

private:
    CapacityLimiter& limiter_;
};

/// Calls f(args...) in a LocalCall that offload() sends away and waits for.
template <class Offload, class F, class... Args>
auto call_elsewhere(Offload offload, F&& f, Args&&... args) -> OffloadResult<F, Args...> {
    using R = OffloadResult<F, Args...>;
    auto bound = [&](std::stop_token token) -> R {
        return call_with_token(std::move(token), std::forward<F>(f), std::forward<Args>(args)...);
    };
    LocalCall<R, decltype(bound)> call(bound, kTakesToken<F, Args...>);
    offload(call);
    return call.take();
}

/// The same in a SharedCall, by values.
template <class Offload, class F, class... Args>
auto call_elsewhere_by_values(Offload offload, F&& f, Args&&... args)
    -> OffloadResult<std::decay_t<F>, std::decay_t<Args>...> {
    using R = OffloadResult<std::decay_t<F>, std::decay_t<Args>...>;
    auto bound = [f = std::decay_t<F>(std::forward<F>(f)),
                  args = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)](
                     std::stop_token token) mutable -> R {
        return std::apply(
            [&](auto&... a) -> R {
                return call_with_token(std::move(token), std::move(f), std::move(a)...);
            },
            args);
    };
    using Call = SharedCall<R, decltype(bound)>;
    std::unique_ptr<Call, ReleaseCall> call(
        new Call(std::move(bound), kTakesToken<std::decay_t<F>, std::decay_t<Args>...>));
    offload(*call);
    return call->take();
}

}  // namespace detail

/// Runs f(args...) on a thread of the runtime's pool and gives its value or throws its exception.
///
/// For calls that block. Waits; UsageError outside of a task. Context variables and the deadline (current_deadline()) go
/// along. Arguments are referred to, since the call is waited for. Cancelled while queued, it is taken out. Cancelled while
/// it runs, it is asked to stop, through the std::stop_token that f takes first if it wants one and through checkpoint(), and
/// *waited for*; then CancelledError, or what f threw. At most cores + 4 threads (32 at most); beyond that calls queue in
/// order. For a pool of one's own: ThreadPool in <weft/executor.hpp>.
template <class F, class... Args>
    requires detail::Offloadable<F, Args...>
auto to_thread(F&& f, Args&&... args) -> detail::OffloadResult<F, Args...> {
    return detail::call_elsewhere([](detail::OffloadCall& call) { detail::run_on_thread(call); },
                                  std::forward<F>(f), std::forward<Args>(args)...);
}

/// The same, with a token of the limiter's for the length of the call: waits in line for one first, as acquire() does,
/// and takes no thread meanwhile. The call is the borrower, and not the task.
template <class F, class... Args>
    requires detail::Offloadable<F, Args...>
auto to_thread(CapacityLimiter& limiter, F&& f, Args&&... args)
    -> detail::OffloadResult<F, Args...> {
    lowlevel::require_task("to_thread");
    detail::BorrowedToken token(limiter);
    return to_thread(std::forward<F>(f), std::forward<Args>(args)...);
}

/// The first one, but a cancel ends the wait at once (asyncio's to_thread) and f runs on. So f and its arguments are
/// moved or copied, and it must refer to nothing that the caller owns. The runtime's end waits for it, as long as
/// RunOptions::abandoned_grace.
template <class F, class... Args>
    requires detail::Offloadable<std::decay_t<F>, std::decay_t<Args>...>
auto to_thread(AbandonOnCancel, F&& f, Args&&... args)
    -> detail::OffloadResult<std::decay_t<F>, std::decay_t<Args>...> {
    return detail::call_elsewhere_by_values(
        [](detail::OffloadCall& call) { detail::run_on_thread(call); }, std::forward<F>(f),
        std::forward<Args>(args)...);
}

/// Runs f(args...) on the runtime's oneTBB arena: parallel algorithms inside use all of it. Gives its value or throws its
/// exception.
///
/// Waits; UsageError outside of a task, except on a thread of an arena, where it is a plain call. Context variables and the
/// deadline go along for f itself, not for the algorithms' bodies. Arguments are referred to. Cancelled, the algorithms are
/// told to stop (their task_group_context is cancelled), so is f (through a std::stop_token that it takes first if it wants
/// one, and checkpoint()), and it is waited for; then CancelledError, or what f threw.
template <class F, class... Args>
    requires detail::Offloadable<F, Args...>
auto to_arena(F&& f, Args&&... args) -> detail::OffloadResult<F, Args...> {
    return detail::call_elsewhere([](detail::OffloadCall& call) { detail::run_in_arena(call, 0); },
                                  std::forward<F>(f), std::forward<Args>(args)...);
}

/// The same with no more threads than that at work on it: to_arena(at_most(2), f).
template <class F, class... Args>
    requires detail::Offloadable<F, Args...>
auto to_arena(AtMost most, F&& f, Args&&... args) -> detail::OffloadResult<F, Args...> {
    return detail::call_elsewhere(
        [most](detail::OffloadCall& call) { detail::run_in_arena(call, most.n); },
        std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace weft
