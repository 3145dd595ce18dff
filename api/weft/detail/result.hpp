// A task's or future's value, in place: nothing yet, an R, a reference, or void.
#pragma once

#include <weft/error.hpp>
#include <weft/lowlevel.hpp>

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

namespace weft::detail {

/// What the value of an R looks like in a tuple or vector: void becomes std::monostate.
template <class R>
using ValueOf = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

// A value this large is kept in a box of its own, so that task blocks stay small.
inline constexpr std::size_t kLargestValueInPlace = 256;

template <class R>
class ResultSlot {
    static constexpr bool kBoxed = sizeof(R) > kLargestValueInPlace || alignof(R) > 16;

public:
    static constexpr bool kNothingToDestroy = !kBoxed && std::is_trivially_destructible_v<R>;
    using Reference = const R&;
    ResultSlot() noexcept {}
    ~ResultSlot() {}
    ResultSlot(const ResultSlot&) = delete;
    ResultSlot& operator=(const ResultSlot&) = delete;

    /// Constructs the value from what f() returns, without a move.
    template <class F>
    void emplace_from(F&& f) {
        if constexpr (kBoxed)
            box_ = new R(std::forward<F>(f)());
        else
            new (&value_) R(std::forward<F>(f)());
    }
    void destroy() noexcept {
        if constexpr (kBoxed)
            delete box_;
        else
            value_.~R();
    }
    Reference get() noexcept { return object(); }
    R take() { return std::move(object()); }

private:
    R& object() noexcept {
        if constexpr (kBoxed)
            return *box_;
        else
            return value_;
    }
    union {
        std::conditional_t<kBoxed, char, R> value_;
        R* box_;
    };
};

template <class R>
class ResultSlot<R&> {
public:
    static constexpr bool kNothingToDestroy = true;
    using Reference = R&;
    template <class F>
    void emplace_from(F&& f) {
        value_ = std::addressof(std::forward<F>(f)());
    }
    void destroy() noexcept {}
    R& get() noexcept { return *value_; }
    R& take() noexcept { return *value_; }

private:
    R* value_ = nullptr;
};

template <>
class ResultSlot<void> {
public:
    static constexpr bool kNothingToDestroy = true;
    using Reference = void;
    template <class F>
    void emplace_from(F&& f) {
        std::forward<F>(f)();
    }
    void destroy() noexcept {}
    void get() noexcept {}
    void take() noexcept {}
};

[[noreturn]] void throw_failure(Core& core);
[[noreturn]] void throw_not_done(Core& core);
[[noreturn]] void throw_taken(Core& core);
void check_not_null(const std::exception_ptr& error);
std::exception_ptr read_exception(Core& core);

/// For a done core: throws its error or CancelledError, if it has one, and notes that it was read.
inline void rethrow_failure(Core& core) {
    if (core.outcome != Outcome::value) [[unlikely]]
        throw_failure(core);
}
/// The right to move the value out; InvalidStateError if it is gone.
inline void take_value(Core& core) {
    if (core.taken.exchange(true)) [[unlikely]]
        throw_taken(core);
}

template <class R>
decltype(auto) done_result(Core& core, ResultSlot<R>& slot) {
    rethrow_failure(core);
    if constexpr (!std::is_void_v<R>)
        if (core.taken.load()) [[unlikely]]
            throw_taken(core);
    return slot.get();
}

template <class R>
decltype(auto) read_result(Core& core, ResultSlot<R>& slot) {
    if (!core.word.done()) [[unlikely]]
        throw_not_done(core);
    return done_result(core, slot);
}

template <class R>
R take_result(Core& core, ResultSlot<R>& slot) {
    if (!core.word.done()) throw_not_done(core);
    rethrow_failure(core);
    if constexpr (std::is_void_v<R> || std::is_reference_v<R>) {
        return slot.take();
    } else {
        take_value(core);
        if constexpr (std::is_nothrow_move_constructible_v<R>) {
            return slot.take();
        } else {
            try {
                return slot.take();
            } catch (...) {
                core.taken.store(false);  // it did not come out
                throw;
            }
        }
    }
}

}  // namespace weft::detail

namespace weft {

/// What became of an awaitable: its value, or its error. gather(return_exceptions, ...) gives these.
template <class R>
class Outcome {
    using Value =
        std::conditional_t<std::is_reference_v<R>, std::remove_reference_t<R>*, detail::ValueOf<R>>;

public:
    explicit Outcome(std::in_place_t, Value value)
        : state_(std::in_place_index<0>, std::move(value)) {}
    explicit Outcome(std::exception_ptr error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    /// The value; throws the error if that is what became of it.
    decltype(auto) value() const& {
        rethrow();
        if constexpr (std::is_reference_v<R>)
            return static_cast<R>(*std::get<0>(state_));
        else if constexpr (!std::is_void_v<R>)
            return static_cast<const R&>(std::get<0>(state_));
    }
    R value() && {
        rethrow();
        if constexpr (std::is_reference_v<R>)
            return *std::get<0>(state_);
        else if constexpr (!std::is_void_v<R>)
            return std::move(std::get<0>(state_));
    }
    /// The error, or null.
    std::exception_ptr error() const noexcept {
        return has_value() ? nullptr : std::get<1>(state_);
    }

private:
    void rethrow() const {
        if (!has_value()) std::rethrow_exception(std::get<1>(state_));
    }
    std::variant<Value, std::exception_ptr> state_;
};

}  // namespace weft
