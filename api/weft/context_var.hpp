// Context variables: values that follow a task, and not a thread.
//
// A new task starts with a copy of its creator's; what it sets is invisible to the creator. Copying is sharing: one
// count, or nothing while none was ever set. Values are immutable once set.
#pragma once

#include <weft/detail/context_map.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace weft {

/// A set of context variables as an object (Python's contextvars.Context). A shared handle: copies are the same set.
class Context {
public:
    /// An empty one.
    Context();
    Context(const Context& other) noexcept;
    Context(Context&& other) noexcept;
    Context& operator=(Context other) noexcept;
    ~Context();

    /// Calls f in this context: what it reads and sets is read and set here. Gives what f gives.
    template <class F>
    decltype(auto) run(F&& f) const {
        Entered entered(*this);
        return std::forward<F>(f)();
    }

    void* handle() const noexcept { return handle_; }

private:
    friend Context copy_context();
    struct Entered {
        explicit Entered(const Context& context) noexcept;
        ~Entered();
        Entered(const Entered&) = delete;
        Entered& operator=(const Entered&) = delete;
        void* before;
    };
    void* handle_;
};

/// A copy of the current context variables.
Context copy_context();

/// A variable whose value belongs to the context of the task that reads it. Make them at namespace scope.
template <class T>
class ContextVar {
public:
    /// What set() gives, for reset(): the value before, and whose it is.
    class Token {
    public:
        /// The value before, if there was one.
        std::optional<T> old_value() const {
            return before_ != nullptr ? std::optional<T>(*static_cast<const T*>(before_.get()))
                                      : std::nullopt;
        }

    private:
        friend class ContextVar;
        std::uint64_t key_ = 0;
        std::shared_ptr<const void> before_;
        bool used_ = false;
    };

    /// Without a default, get() of an unset variable throws.
    explicit ContextVar(const char* name) : name_(name) {}
    ContextVar(const char* name, T default_value)
        : name_(name), default_(std::move(default_value)) {}
    ContextVar(const ContextVar&) = delete;
    ContextVar& operator=(const ContextVar&) = delete;

    /// The value in the current context, else the default, else std::out_of_range that names the variable.
    T get() const {
        if (auto value = detail::context_get(key_)) return *static_cast<const T*>(value.get());
        if (default_) return *default_;
        throw std::out_of_range("context variable '" + std::string(name_) + "' is not set");
    }
    /// The value in the current context, else `fallback`.
    T get(T fallback) const {
        if (auto value = detail::context_get(key_)) return *static_cast<const T*>(value.get());
        return fallback;
    }
    /// Sets it in the current context. std::bad_alloc.
    Token set(T value) {
        Token token;
        token.key_ = key_;
        token.before_ = detail::context_set(key_, std::make_shared<const T>(std::move(value)));
        return token;
    }
    /// Puts back what was there before set() gave this token. UsageError for a token used twice,
    /// std::invalid_argument for one of another variable.
    void reset(Token& token) {
        if (token.key_ != key_)
            throw std::invalid_argument("context variable '" + std::string(name_) +
                                        "': token of another variable");
        detail::check_token_unused(token.used_, name_);
        token.used_ = true;
        detail::context_set(key_, token.before_);
    }
    void reset(Token&& token) { reset(token); }

    const char* name() const noexcept { return name_; }

protected:
    std::uint64_t key() const noexcept { return key_; }

private:
    const std::uint64_t key_ = detail::new_context_key();
    const char* name_;
    std::optional<T> default_;
};

}  // namespace weft
