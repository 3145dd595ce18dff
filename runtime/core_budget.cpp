#include "core_budget.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include <pthread.h>

#include "arena.hpp"

namespace weft::rt {

namespace {

constexpr Duration kPeriod = std::chrono::milliseconds(10);
// So much of the last period's load counts, the rest is what was before: a picture's pause between two requests is no change.
constexpr double kNewest = 0.3;
constexpr double kTooLittle = 0.25;

TimePoint clock_now() noexcept { return std::chrono::steady_clock::now(); }
std::int64_t count(TimePoint time) noexcept {
    return std::chrono::duration_cast<Duration>(time.time_since_epoch()).count();
}

}  // namespace

// --- load ---------------------------------------------------------------------------------------------------------

void AwakeTime::woke(TimePoint now) noexcept {
    const std::int64_t word = word_.load(std::memory_order_relaxed);
    word_.store((word / 2 - count(now)) * 2 - 1, std::memory_order_relaxed);
}

void AwakeTime::fell_asleep(TimePoint now) noexcept {
    word_.store(so_far(now).count() * 2, std::memory_order_relaxed);
}

Duration AwakeTime::so_far(TimePoint now) const noexcept {
    const std::int64_t word = word_.load(std::memory_order_relaxed);
    if ((word & 1) == 0) return Duration(word / 2);
    return Duration((word + 1) / 2 + count(now));
}

unsigned cores_left(unsigned cores, double workers_awake) noexcept {
    const double left = std::ceil(static_cast<double>(cores) - workers_awake - kTooLittle);
    return left < 1 ? 1 : std::min(cores, static_cast<unsigned>(left));
}

// --- slots --------------------------------------------------------------------------------------------------------

void ArenaSlots::entered() noexcept {
    std::lock_guard guard(mutex_);
    ++present_;
    publish();
    if (watcher_waits_) watch_.notify_one();
}

void ArenaSlots::left() noexcept {
    std::lock_guard guard(mutex_);
    --present_;
    publish();
    if (parked_ != 0) room_.notify_one();
}

unsigned ArenaSlots::allow(unsigned threads) noexcept {
    std::lock_guard guard(mutex_);
    allowed_ = std::max(threads, 1U);
    if (parked_ != 0) room_.notify_all();
    const unsigned wanted = allowed_ + parked_ + sent_;
    if (present_ <= wanted) return 0;
    sent_ += present_ - wanted;
    return present_ - wanted;
}

void ArenaSlots::not_sent(unsigned threads) noexcept {
    std::lock_guard guard(mutex_);
    sent_ -= threads;
}

void ArenaSlots::park() noexcept {
    std::unique_lock guard(mutex_);
    --sent_;
    if (present_ - parked_ <= allowed_) return;
    ++parked_;
    publish();
    room_.wait(guard, [this] { return present_ - parked_ < allowed_; });
    --parked_;
    publish();
}

unsigned ArenaSlots::parked() const noexcept {
    std::lock_guard guard(mutex_);
    return parked_;
}

bool ArenaSlots::wait_for_work() noexcept {
    std::unique_lock guard(mutex_);
    watcher_waits_ = true;
    watch_.wait(guard, [this] { return present_ != 0 || closed_; });
    watcher_waits_ = false;
    return !closed_;
}

bool ArenaSlots::wait(Duration time) noexcept {
    std::unique_lock guard(mutex_);
    return !watch_.wait_for(guard, time, [this] { return closed_; });
}

void ArenaSlots::close() noexcept {
    std::lock_guard guard(mutex_);
    closed_ = true;
    watch_.notify_all();
}

// --- who adjusts --------------------------------------------------------------------------------------------------

BudgetKeeper::BudgetKeeper(unsigned cores, std::vector<const AwakeTime*> workers, Arena& arena)
    : cores_(cores), workers_(std::move(workers)), arena_(arena) {
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "weft-budget");
}

BudgetKeeper::~BudgetKeeper() {
    arena_.slots().close();
    thread_.join();
    arena_.allow(cores_);
}

Duration BudgetKeeper::awake_so_far(TimePoint now) const noexcept {
    Duration sum{};
    for (const AwakeTime* worker : workers_) sum += worker->so_far(now);
    return sum;
}

void BudgetKeeper::run() noexcept {
    ArenaSlots& slots = arena_.slots();
    TimePoint before = clock_now();
    Duration awake_before = awake_so_far(before);
    double load = 0;
    while (slots.wait_for_work() && slots.wait(kPeriod)) {
        const TimePoint now = clock_now();
        const Duration awake = awake_so_far(now);
        const double passed = static_cast<double>((now - before).count());
        const double newest =
            std::max(0.0, static_cast<double>((awake - awake_before).count()) / passed);
        // After a pause the last period is all there is to know.
        load = now - before > 10 * kPeriod ? newest : kNewest * newest + (1 - kNewest) * load;
        before = now;
        awake_before = awake;
        arena_.allow(cores_left(cores_, load));
    }
}

}  // namespace weft::rt
