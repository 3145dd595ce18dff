// What weft throws.
//
// weft::Error is the base of run-time errors, a std::runtime_error; misuse is a std::logic_error; CancelledError
// stands outside of std::exception. Names are asyncio's.
#pragma once

#include <weft/detail/basic_errors.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace weft {

/// SIGINT came while run's main task ran, and it ended by the cancel (Python's KeyboardInterrupt). Not a std::exception,
/// so that `catch (const std::exception&)` lets it pass. Uncaught it ends the process by SIGINT, as shells expect.
class KeyboardInterrupt {};

/// A timeout() or wait_for() ran out of time.
class TimeoutError : public Error {
public:
    explicit TimeoutError(const std::string& what = "timed out") : Error(what) {}
};

/// get_nowait() found nothing.
class QueueEmpty : public Error {
public:
    explicit QueueEmpty(const std::string& what = "the queue is empty") : Error(what) {}
};

/// The queue was shut down: nothing more may be put, or nothing is left to get.
class QueueShutDown : public Error {
public:
    explicit QueueShutDown(const std::string& what = "the queue was shut down") : Error(what) {}
};

/// The barrier was aborted, or reset while tasks waited.
class BrokenBarrierError : public Error {
public:
    explicit BrokenBarrierError(const std::string& what = "the barrier is broken") : Error(what) {}
};

/// A host's addresses could not be found.
class ResolveError : public Error {
public:
    ResolveError(const std::string& what, int code) : Error(what), code_(code) {}
    /// getaddrinfo(3)'s EAI_NONAME, EAI_AGAIN, ...
    int code() const noexcept { return code_; }

private:
    int code_;
};

/// The stream ended before what was asked for.
class IncompleteReadError : public Error {
public:
    /// `expected` is unknown where a separator was looked for.
    IncompleteReadError(std::string partial, std::optional<std::size_t> expected);
    /// What had been read before the end.
    const std::string& partial() const noexcept { return partial_; }
    std::optional<std::size_t> expected() const noexcept { return expected_; }

private:
    std::string partial_;
    std::optional<std::size_t> expected_;
};

/// No separator within the stream's limit. What has been read so far stays in the stream's buffer.
class LimitOverrunError : public Error {
public:
    LimitOverrunError(const std::string& what, std::size_t consumed)
        : Error(what), consumed_(consumed) {}
    /// How many bytes of the buffer may be skipped: no separator ends there.
    std::size_t consumed() const noexcept { return consumed_; }

private:
    std::size_t consumed_;
};

/// A task or future is asked for what it does not have yet, has no more, or has already.
class InvalidStateError : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

/// Several errors at once, as a task group raises them (Python's ExceptionGroup). Groups may nest.
///
///     try { weft::task_group(...); }
///     catch (const weft::ExceptionGroup& group) {
///         if (auto values = group.subgroup<std::invalid_argument>()) ...
///     }
class ExceptionGroup : public Error {
public:
    ExceptionGroup(const std::string& message, std::vector<std::exception_ptr> exceptions);

    /// Without the count that what() has.
    const std::string& message() const noexcept { return message_; }
    const std::vector<std::exception_ptr>& exceptions() const noexcept { return exceptions_; }

    /// Those that are an E, at any depth, and the rest; the nesting is kept.
    template <class E>
    std::pair<std::optional<ExceptionGroup>, std::optional<ExceptionGroup>> split() const {
        return split_by([](const std::exception_ptr& error) {
            try {
                std::rethrow_exception(error);
            } catch (const E&) {
                return true;
            } catch (...) {
                return false;
            }
        });
    }
    /// The first half of split().
    template <class E>
    std::optional<ExceptionGroup> subgroup() const {
        return split<E>().first;
    }

private:
    using Matches = bool (*)(const std::exception_ptr&);
    std::pair<std::optional<ExceptionGroup>, std::optional<ExceptionGroup>> split_by(
        Matches matches) const;

    std::string message_;
    std::vector<std::exception_ptr> exceptions_;
};

}  // namespace weft
