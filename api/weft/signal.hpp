// Signals of the operating system: asyncio's add_signal_handler, and a queue of them.
//
// The process may have any number of subscribers to one signal, in any of its runtimes: each gets it. While somebody
// subscribes, the signal has no other effect; so SIGINT is no KeyboardInterrupt of run meanwhile. When the last subscriber
// goes, what was in force before is in force again.
#pragma once

#include <weft/error.hpp>
#include <weft/task.hpp>

#include <concepts>
#include <csignal>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <utility>

namespace weft {

namespace detail {
class SignalState;
}  // namespace detail

/// The signals that come from signals() on. Movable. Its destructor closes it.
class SignalQueue {
public:
    /// Closed.
    SignalQueue() noexcept = default;
    SignalQueue(SignalQueue&& other) noexcept = default;
    SignalQueue& operator=(SignalQueue&& other) noexcept;
    ~SignalQueue() { close(); }

    /// The number of the next one. Waits until one comes; cancelled there, none is lost. For one task at a time: UsageError.
    /// QueueShutDown: it is closed, before or meanwhile.
    ///
    /// Signals of one number that come before they are got may be merged into one, as the kernel does, too; of several
    /// numbers the lowest comes first.
    int get();
    /// Any thread. Subscribes no more.
    void close() noexcept;

    /// `for (int signal : queue)`, until it is closed. A cancel is thrown out of the loop.
    class Iterator {
    public:
        explicit Iterator(SignalQueue& queue) : queue_(queue) { ++*this; }
        int operator*() const noexcept { return signal_; }
        Iterator& operator++();
        bool operator==(std::nullptr_t) const noexcept { return signal_ == 0; }

    private:
        SignalQueue& queue_;
        int signal_ = 0;
    };
    Iterator begin() { return Iterator(*this); }
    std::nullptr_t end() const noexcept { return nullptr; }

private:
    friend SignalQueue signals(std::initializer_list<int> numbers);
    explicit SignalQueue(std::shared_ptr<detail::SignalState> state) noexcept
        : state_(std::move(state)) {}

    std::shared_ptr<detail::SignalState> state_;
};

/// Subscribes to these signals. Never waits. std::invalid_argument: none is given, or one that no program can wait for:
/// SIGKILL, SIGSTOP, a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL), no signal at all. std::system_error: no descriptor is left.
/// UsageError outside of a task. Cost: an eventfd and, for the first subscriber of a signal, sigaction(2).
SignalQueue signals(std::initializer_list<int> numbers);

namespace detail {

class SignalHandler {
public:
    virtual ~SignalHandler() = default;
    virtual void call(int signal) = 0;
};

template <class F>
class SignalHandlerOf final : public SignalHandler {
public:
    explicit SignalHandlerOf(F f) : f_(std::move(f)) {}
    void call(int signal) override {
        if constexpr (std::invocable<F&, int>)
            static_cast<void>(f_(signal));
        else
            static_cast<void>(f_());
    }

private:
    F f_;
};

void add_signal_handler(int signal, std::unique_ptr<SignalHandler> handler);

}  // namespace detail

/// Calls f(), or f(signal), each time the signal comes, in a task of this runtime's, one call after another (asyncio's
/// add_signal_handler). It replaces the runtime's one for the signal, if there is one. What f throws goes to
/// RunOptions::exception_handler. It is there until remove_signal_handler() or the end of run, which cancels f if it waits.
///
/// Never waits. Errors and merging as signals().
template <class F>
void on_signal(int signal, F&& f) {
    using Function = std::decay_t<F>;
    static_assert(std::invocable<Function&> || std::invocable<Function&, int>,
                  "weft::on_signal: the handler must be callable without arguments or with an int");
    detail::add_signal_handler(
        signal, std::make_unique<detail::SignalHandlerOf<Function>>(std::forward<F>(f)));
}

/// Takes the runtime's handler for the signal away; false: there is none. A call in progress goes on. Never waits.
/// UsageError outside of a task.
bool remove_signal_handler(int signal);

}  // namespace weft
