#include <weft/detail/descriptor.hpp>
#include <weft/detail/engine.hpp>
#include <weft/detail/signals.hpp>
#include <weft/signal.hpp>

#include <algorithm>
#include <bit>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace weft {

namespace detail {

class SignalState {
public:
    /// `set` has one bit at least.
    SignalState(std::uint64_t set, const char* what);
    ~SignalState() { close(); }
    SignalState(const SignalState&) = delete;
    SignalState& operator=(const SignalState&) = delete;

    int get();
    void close() noexcept;

private:
    int take() noexcept;

    Descriptor bell_;
    SignalSubscriber subscriber_;
    std::atomic<bool> open_{true};
};

SignalState::SignalState(std::uint64_t set, const char* what) {
    int bell = make_bell();
    if (bell < 0) throw std::system_error(-bell, std::generic_category(), what);
    bell_ = Descriptor(bell, what);
    subscriber_.wanted = set;
    subscriber_.bell = bell;
    if (int rc = subscribe(subscriber_); rc < 0)
        throw std::system_error(-rc, std::generic_category(), what);
}

// The bell must be open until no handler rings it.
void SignalState::close() noexcept {
    if (!open_.exchange(false)) return;
    unsubscribe(subscriber_);
    bell_.close();
}

int SignalState::take() noexcept {
    std::uint64_t pending = subscriber_.pending.load();
    if (pending == 0) return 0;
    // Only one task takes: the bit is still there.
    subscriber_.pending.fetch_and(~(pending & (~pending + 1)));
    return std::countr_zero(pending) + 1;
}

int SignalState::get() {
    lowlevel::checkpoint();
    for (;;) {
        if (!open_.load()) throw QueueShutDown("the queue of signals is closed");
        if (int signal = take()) return signal;
        // Heard after the look: what came in between has rung. What is heard in vain has been taken already.
        int rc = bell_.retry(Side::in, "SignalQueue.get", hear_bell);
        if (rc < 0 && rc != -EBADF)
            throw std::system_error(-rc, std::generic_category(), "weft::SignalQueue::get");
    }
}

namespace {

std::uint64_t set_of(std::initializer_list<int> numbers, const char* what) {
    std::uint64_t set = 0;
    for (int signal : numbers) {
        std::uint64_t bit = bit_of_signal(signal);
        if (bit == 0)
            throw std::invalid_argument(std::string(what) + ": nobody can wait for signal " +
                                        std::to_string(signal));
        set |= bit;
    }
    if (set == 0) throw std::invalid_argument(std::string(what) + ": no signal is given");
    return set;
}

// --- handlers -----------------------------------------------------------------------------------------------------

using StatePtr = std::shared_ptr<SignalState>;

/// The handlers of all runtimes. A runtime is known by its serial: its address may be another one's later.
class Handlers {
public:
    /// The one that it replaces.
    StatePtr put(std::uint64_t runtime, int signal, const StatePtr& state) {
        std::lock_guard guard(mutex_);
        if (Entry* entry = find(runtime, signal)) return std::exchange(entry->state, state);
        entries_.push_back({runtime, signal, state});
        return nullptr;
    }
    StatePtr take(std::uint64_t runtime, int signal) noexcept {
        std::lock_guard guard(mutex_);
        Entry* entry = find(runtime, signal);
        return entry != nullptr ? take_out(*entry) : nullptr;
    }
    void forget(const SignalState* state) noexcept {
        StatePtr gone;  // not destroyed under the lock
        std::lock_guard guard(mutex_);
        auto is_it = [&](const Entry& entry) { return entry.state.get() == state; };
        auto found = std::find_if(entries_.begin(), entries_.end(), is_it);
        if (found != entries_.end()) gone = take_out(*found);
    }

private:
    struct Entry {
        std::uint64_t runtime;
        int signal;
        StatePtr state;
    };

    Entry* find(std::uint64_t runtime, int signal) noexcept {
        for (Entry& entry : entries_)
            if (entry.runtime == runtime && entry.signal == signal) return &entry;
        return nullptr;
    }
    StatePtr take_out(Entry& entry) noexcept {
        StatePtr state = std::move(entry.state);
        if (&entry != &entries_.back()) entry = std::move(entries_.back());
        entries_.pop_back();
        return state;
    }

    std::mutex mutex_;
    std::vector<Entry> entries_;  // guarded by mutex_
};

Handlers& handlers() {
    static Handlers& all = *new Handlers;
    return all;
}

std::uint64_t this_runtime() noexcept { return home_of(current_scheduler()).serial; }

/// What the task of one handler does, until the subscription is closed or it is cancelled.
struct Calls {
    StatePtr state;
    std::unique_ptr<SignalHandler> handler;

    Calls(StatePtr s, std::unique_ptr<SignalHandler> h) noexcept
        : state(std::move(s)), handler(std::move(h)) {}
    Calls(Calls&&) noexcept = default;
    // Also where the task was never run.
    ~Calls() {
        if (state == nullptr) return;
        state->close();
        handlers().forget(state.get());
    }

    void operator()() {
        try {
            for (;;) call(state->get());
        } catch (const QueueShutDown&) {
        }
    }
    void call(int signal) {
        try {
            handler->call(signal);
        } catch (const CancelledError&) {
            throw;
        } catch (...) {
            AnyTask self = weft::current_task();
            report_error("the handler of signal " + std::to_string(signal) + " failed",
                         std::current_exception(), static_cast<TaskCore*>(self.core()), {});
        }
    }
};

}  // namespace

void add_signal_handler(int signal, std::unique_ptr<SignalHandler> handler) {
    constexpr const char* kWhat = "weft::on_signal";
    lowlevel::require_task(kWhat);
    auto state = std::make_shared<SignalState>(set_of({signal}, kWhat), kWhat);
    StatePtr replaced;
    {
        Calls calls(state, std::move(handler));
        replaced = handlers().put(this_runtime(), signal, state);
        create_task(std::move(calls), {.name = "on_signal " + std::to_string(signal)});
    }
    if (replaced != nullptr) replaced->close();
}

}  // namespace detail

SignalQueue signals(std::initializer_list<int> numbers) {
    constexpr const char* kWhat = "weft::signals";
    lowlevel::require_task(kWhat);
    return SignalQueue(
        std::make_shared<detail::SignalState>(detail::set_of(numbers, kWhat), kWhat));
}

SignalQueue& SignalQueue::operator=(SignalQueue&& other) noexcept {
    if (this != &other) {
        close();
        state_ = std::move(other.state_);
    }
    return *this;
}

void SignalQueue::close() noexcept {
    if (state_ != nullptr) state_->close();
}

int SignalQueue::get() {
    lowlevel::require_task("weft::SignalQueue::get");
    if (state_ == nullptr) throw QueueShutDown("the queue of signals is closed");
    return state_->get();
}

SignalQueue::Iterator& SignalQueue::Iterator::operator++() {
    try {
        signal_ = queue_.get();
    } catch (const QueueShutDown&) {
        signal_ = 0;
    }
    return *this;
}

bool remove_signal_handler(int signal) {
    lowlevel::require_task("weft::remove_signal_handler");
    auto state = detail::handlers().take(detail::this_runtime(), signal);
    if (state == nullptr) return false;
    state->close();
    return true;
}

}  // namespace weft
