// A small schedule explorer: runs N virtual threads on one OS thread and turns the schedule at every atomic operation.
//
// The lock-free rooms of the engine are templates on an Env that gives them their atomics (weft/detail/env.hpp).
// With model::Env each load, store and read-modify-write is a point where another virtual thread may go on, so a test
// can try schedules that a real machine shows once a week. Three ways to choose:
//   random      at each point anybody, evenly
//   pct         Burckhardt, Kothari, Musuvathi & Nagarakatte, "A randomized scheduler with probabilistic guarantees of
//               finding bugs", ASPLOS 2010: random priorities, lowered at `depth` - 1 random points
//   exhaustive  depth first over all schedules with at most `preemptions` preemptions (Musuvathi & Qadeer, "Iterative
//               context bounding", PLDI 2007); `complete` says whether it came to the end
// A failing schedule is printed as a string; WEFT_MODEL_SCHEDULE with that string runs it again, and nothing else.
// WEFT_MODEL_EFFORT multiplies the number of executions.
//
// What is found: a failed require(), a lost wake-up or deadlock (everybody blocked), an endless loop.
// What is not: effects of weak memory. Every operation is sequentially consistent here whatever order it asks for, and
// a weak compare-exchange never fails without a reason. A wrong memory order passes; exploring those is later work.
//
// Rules for a scenario. It must be deterministic but for any_of(). A virtual thread whose execution fails is abandoned
// on its stack, so it holds no resources there. State is made fresh for each execution, by the scenario function.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>

namespace weft::model {

/// Where the schedule may turn. Does nothing outside of a virtual thread.
void point() noexcept;
/// The virtual thread has nothing to do before somebody else has taken a step (the body of a spin loop).
void spin() noexcept;
/// A free choice of the environment: 0..n-1.
unsigned any_of(unsigned n) noexcept;
/// Ends this execution as failed unless `condition`. May be called at the end of a scenario as well.
void require(bool condition, const char* what) noexcept;

/// Runs `look` without a scheduling point in it: for checks in the middle of an execution.
void stop_the_world(void (*look)(void* argument), void* argument) noexcept;
template <class Look>
void at_once(const Look& look) noexcept {
    stop_the_world([](void* argument) { (*static_cast<const Look*>(argument))(); },
                   const_cast<void*>(static_cast<const void*>(&look)));
}

using Predicate = bool (*)(const void* argument);
void block_until(Predicate ready, const void* argument) noexcept;

/// Blocks the virtual thread until ready(), which is called often and must only look.
template <class Ready>
void wait_until(const Ready& ready) noexcept {
    block_until([](const void* argument) { return (*static_cast<const Ready*>(argument))(); },
                &ready);
}

/// std::atomic's interface, with a scheduling point before each operation.
template <class T>
class Atomic {
public:
    constexpr Atomic() noexcept = default;
    constexpr Atomic(T value) noexcept : value_(value) {}  // NOLINT: as std::atomic
    Atomic(const Atomic&) = delete;
    Atomic& operator=(const Atomic&) = delete;

    T load(std::memory_order = std::memory_order_seq_cst) const noexcept {
        point();
        return value_;
    }
    void store(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
        point();
        value_ = value;
    }
    T exchange(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
        point();
        T old = value_;
        value_ = value;
        return old;
    }
    bool compare_exchange_strong(T& expected, T value,
                                 std::memory_order = std::memory_order_seq_cst) noexcept {
        point();
        if (value_ != expected) {
            expected = value_;
            return false;
        }
        value_ = value;
        return true;
    }
    bool compare_exchange_weak(T& expected, T value,
                               std::memory_order order = std::memory_order_seq_cst) noexcept {
        return compare_exchange_strong(expected, value, order);
    }
    T fetch_add(T n, std::memory_order = std::memory_order_seq_cst) noexcept {
        return change([&](T v) { return v + n; });
    }
    T fetch_sub(T n, std::memory_order = std::memory_order_seq_cst) noexcept {
        return change([&](T v) { return v - n; });
    }
    T fetch_or(T n, std::memory_order = std::memory_order_seq_cst) noexcept {
        return change([&](T v) { return v | n; });
    }
    T fetch_and(T n, std::memory_order = std::memory_order_seq_cst) noexcept {
        return change([&](T v) { return v & n; });
    }

    /// Looks without a scheduling point: for checks.
    T peek() const noexcept { return value_; }

private:
    template <class F>
    T change(F&& f) noexcept {
        point();
        T old = value_;
        value_ = static_cast<T>(f(old));
        return old;
    }
    T value_{};
};

struct Env {
    template <class T>
    using atomic = Atomic<T>;
};

/// A planted bug: read-modify-writes that are a load and a store, with room for others in between.
template <class T>
class TornAtomic : public Atomic<T> {
public:
    using Atomic<T>::Atomic;
    bool compare_exchange_strong(T& expected, T value,
                                 std::memory_order = std::memory_order_seq_cst) noexcept {
        T seen = this->load();
        if (seen != expected) {
            expected = seen;
            return false;
        }
        this->store(value);
        return true;
    }
    bool compare_exchange_weak(T& expected, T value,
                               std::memory_order order = std::memory_order_seq_cst) noexcept {
        return compare_exchange_strong(expected, value, order);
    }
    T fetch_add(T n, std::memory_order = std::memory_order_seq_cst) noexcept {
        return change([&](T v) { return v + n; });
    }
    T fetch_sub(T n, std::memory_order = std::memory_order_seq_cst) noexcept {
        return change([&](T v) { return v - n; });
    }
    T fetch_or(T n, std::memory_order = std::memory_order_seq_cst) noexcept {
        return change([&](T v) { return v | n; });
    }
    T fetch_and(T n, std::memory_order = std::memory_order_seq_cst) noexcept {
        return change([&](T v) { return v & n; });
    }

private:
    template <class F>
    T change(F&& f) noexcept {
        T old = this->load();
        this->store(static_cast<T>(f(old)));
        return old;
    }
};

struct TornEnv {
    template <class T>
    using atomic = TornAtomic<T>;
};

/// What a scenario fills for one execution.
class Execution {
public:
    virtual ~Execution() = default;
    /// A virtual thread. At most 12.
    virtual void thread(std::function<void()> body) = 0;
    /// One that may still be blocked when all the others have ended: a worker that sleeps, say.
    virtual void daemon(std::function<void()> body) = 0;
    /// Called when nobody can go on, all threads have ended, and the daemons have ended or are blocked.
    virtual void at_end(std::function<void()> check) = 0;
};
using Scenario = std::function<void(Execution&)>;

enum class Strategy : std::uint8_t { random, pct, exhaustive };

struct Plan {
    Strategy strategy = Strategy::pct;
    std::uint64_t executions = 100'000;  ///< at most; see effort()
    std::uint64_t first_seed = 1;
    unsigned preemptions = 2;    ///< exhaustive
    unsigned depth = 3;          ///< pct
    std::size_t steps = 20'000;  ///< of one execution; more is an endless loop
};

struct Failure {
    std::string what;
    std::string schedule;     ///< for replay()
    std::uint64_t seed;       ///< of the execution; 0 where the strategy has none
    std::uint64_t execution;  ///< how many it took
};

struct Report {
    std::uint64_t executions = 0;
    std::uint64_t steps = 0;
    double seconds = 0;
    bool complete = false;  ///< exhaustive: there are no other schedules within the bound
    std::optional<Failure> failure;

    std::string text() const;
};

/// Runs the scenario under many schedules, until one fails.
Report explore(const Scenario& scenario, const Plan& plan);
/// Runs it under this one.
Report replay(const Scenario& scenario, const std::string& schedule);

/// A number of executions, less under sanitizers, times WEFT_MODEL_EFFORT.
std::uint64_t effort(std::uint64_t executions);

}  // namespace weft::model
