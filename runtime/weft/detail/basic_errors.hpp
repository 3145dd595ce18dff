// The errors that the engine itself raises. <weft/error.hpp> has all of them.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

namespace weft {

/// The base of weft's own run-time errors.
class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Misuse (asyncio's RuntimeError): waiting outside of run, releasing what is not held, a task awaiting itself.
class UsageError : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

/// There is no room: put_nowait(), or a call to an executor whose queue has a bound.
class QueueFull : public Error {
public:
    explicit QueueFull(const std::string& what = "the queue is full") : Error(what) {}
};

/// A task or future was cancelled. Not a std::exception, so that `catch (const std::exception&)` lets it pass, as
/// Python's `except Exception` does. Catch it only to clean up, and throw it on.
class CancelledError {
public:
    CancelledError() = default;
    explicit CancelledError(const std::string& message)
        : message_(message.empty() ? nullptr : std::make_shared<const std::string>(message)) {}

    /// What was given to cancel(), or "".
    const std::string& message() const noexcept {
        static const std::string kNone;
        return message_ != nullptr ? *message_ : kNone;
    }

private:
    std::shared_ptr<const std::string> message_;
};

}  // namespace weft
