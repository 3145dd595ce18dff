// The machine below the explorer: virtual threads are fibers, and whoever reaches a scheduling point picks who goes on
// and switches there straight away.
#include "explorer.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>

#include <boost/context/detail/fcontext.hpp>
#include <sys/mman.h>

#include "sanitizers.hpp"
#include "strategies.hpp"

namespace weft::model {

namespace {

namespace ctx = boost::context::detail;

constexpr std::size_t kStackBytes = 256 * 1024;
constexpr unsigned kMostThreads = 12;
constexpr std::size_t kMostText = 4000;

/// A stack to run virtual threads on, kept from one execution to the next.
struct Fiber {
    ctx::fcontext_t context = nullptr;
    const void* limit = nullptr;
    std::size_t bytes = 0;
    void* fake_stack = nullptr;  // ASan
    void* tsan_fiber = nullptr;
};

__attribute__((noinline, no_sanitize("thread"))) ctx::transfer_t jump(Fiber& from, Fiber& to) {
#if WEFT_TSAN
    __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
    return ctx::jump_fcontext(to.context, &from);
}

void arrived([[maybe_unused]] Fiber& here, ctx::transfer_t transfer) {
    auto& left = *static_cast<Fiber*>(transfer.data);
    left.context = transfer.fctx;
#if WEFT_ASAN
    __sanitizer_finish_switch_fiber(here.fake_stack, &left.limit, &left.bytes);
#endif
}

void switch_to(Fiber& from, Fiber& to) {
#if WEFT_ASAN
    __sanitizer_start_switch_fiber(&from.fake_stack, to.limit, to.bytes);
#endif
    arrived(from, jump(from, to));
}

class Machine final : public Execution {
public:
    Machine() {
#if WEFT_TSAN
        main_.tsan_fiber = __tsan_get_current_fiber();
#endif
    }
    ~Machine() override {
        for (Fiber& fiber : fibers_) {
            if (fiber.limit == nullptr) continue;
            abandon(fiber);
            munmap(const_cast<void*>(fiber.limit), kStackBytes);
        }
    }

    void thread(std::function<void()> body) override { add(std::move(body)); }
    void daemon(std::function<void()> body) override {
        daemons_ |= std::uint32_t{1} << count_;
        add(std::move(body));
    }
    void at_end(std::function<void()> check) override { check_ = std::move(check); }

    void run(const Scenario& scenario, Chooser& chooser, std::size_t most_steps);
    void fail(std::string what);
    void turn();
    void spin();
    void block(Predicate ready, const void* argument);
    unsigned value(unsigned n);
    void stop_the_world(void (*look)(void*), void* argument);
    bool inside() const { return current_ != kNobody && !looking_; }

    std::size_t steps() const { return step_; }
    const Schedule& schedule() const { return schedule_; }
    const std::string& failure() const { return failure_; }

private:
    struct Wait {
        Predicate ready = nullptr;
        const void* argument = nullptr;
    };

    void add(std::function<void()> body);
    static void entry(ctx::transfer_t transfer);
    static void abandon(Fiber& fiber);
    unsigned pick();
    void go_on_elsewhere();

    Fiber main_;
    std::array<Fiber, kMostThreads> fibers_;
    std::array<std::function<void()>, kMostThreads> bodies_;
    std::array<Wait, kMostThreads> waits_{};
    std::array<std::uint32_t, kMostThreads>
        lets_first_{};  // spin(): who must have run before this one
    std::function<void()> check_;
    Chooser* chooser_ = nullptr;
    Schedule schedule_;
    std::string failure_;
    std::uint32_t ready_ = 0;
    std::uint32_t blocked_ = 0;
    std::uint32_t daemons_ = 0;
    unsigned count_ = 0;
    unsigned current_ = kNobody;
    unsigned last_ = kNobody;
    bool looking_ = false;  // whether blocked threads may go on: their predicates are no steps
    std::size_t step_ = 0;
    std::size_t most_steps_ = 0;
};

Machine* machine = nullptr;

void Machine::add(std::function<void()> body) {
    if (count_ == kMostThreads) throw std::length_error("too many virtual threads");
    bodies_[count_] = std::move(body);
    ready_ |= std::uint32_t{1} << count_;
    Fiber& fiber = fibers_[count_++];
    if (fiber.limit == nullptr) {
        void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        fiber.limit = memory;
        fiber.bytes = kStackBytes;
    }
    if (fiber.context != nullptr) return;
    auto* top = static_cast<std::byte*>(const_cast<void*>(fiber.limit)) + kStackBytes;
    fiber.context = ctx::make_fcontext(top, kStackBytes, entry);
    fiber.fake_stack = nullptr;
#if WEFT_TSAN
    fiber.tsan_fiber = __tsan_create_fiber(0);
#endif
}

/// A fiber that stopped in the middle cannot be used again as it is.
void Machine::abandon(Fiber& fiber) {
    fiber.context = nullptr;
#if WEFT_ASAN
    __asan_unpoison_memory_region(fiber.limit, kStackBytes);
#endif
#if WEFT_TSAN
    if (fiber.tsan_fiber != nullptr) __tsan_destroy_fiber(fiber.tsan_fiber);
    fiber.tsan_fiber = nullptr;
#endif
}

// Runs one virtual thread after the other, so that a fiber need not be made anew for each execution.
void Machine::entry(ctx::transfer_t transfer) {
    for (unsigned self = machine->current_;; self = machine->current_) {
        arrived(machine->fibers_[self], transfer);
        machine->bodies_[self]();
        machine->ready_ &= ~(std::uint32_t{1} << self);
        unsigned next = machine->pick();
        machine->current_ = machine->last_ = next;
        Fiber& from = machine->fibers_[self];
        Fiber& to = next == kNobody ? machine->main_ : machine->fibers_[next];
#if WEFT_ASAN
        __sanitizer_start_switch_fiber(&from.fake_stack, to.limit, to.bytes);
#endif
        transfer = jump(from, to);
    }
}

/// Who takes the next step; kNobody when the execution is over, well or badly.
unsigned Machine::pick() {
    if (!failure_.empty()) return kNobody;
    if (++step_ > most_steps_) {
        failure_ = "does not end: " + std::to_string(most_steps_) + " steps";
        return kNobody;
    }
    std::uint32_t enabled = ready_;
    looking_ = true;
    for (std::uint32_t rest = blocked_; rest != 0; rest &= rest - 1) {
        auto i = static_cast<unsigned>(std::countr_zero(rest));
        if (waits_[i].ready(waits_[i].argument)) enabled |= std::uint32_t{1} << i;
    }
    looking_ = false;
    if (enabled == 0) {
        std::uint32_t stuck = blocked_ & ~daemons_;
        if (stuck == 0) return kNobody;
        failure_ = "everybody is blocked; for ever:";
        for (; stuck != 0; stuck &= stuck - 1)
            failure_ += " thread " + std::to_string(std::countr_zero(stuck));
        return kNobody;
    }
    std::uint32_t candidates = enabled;
    for (std::uint32_t rest = enabled; rest != 0; rest &= rest - 1) {
        auto i = static_cast<unsigned>(std::countr_zero(rest));
        if ((lets_first_[i] & enabled) != 0) candidates &= ~(std::uint32_t{1} << i);
    }
    if (candidates == 0) candidates = enabled;  // all of them spin
    bool may_stay = last_ != kNobody && (candidates >> last_ & 1) != 0;
    unsigned next = chooser_->thread({candidates, last_, may_stay, step_});
    schedule_.add_thread(next);
    lets_first_[next] = 0;
    for (unsigned i = 0; i < count_; ++i) lets_first_[i] &= ~(std::uint32_t{1} << next);
    blocked_ &= ~(std::uint32_t{1} << next);
    ready_ |= std::uint32_t{1} << next;
    return next;
}

void Machine::go_on_elsewhere() {
    unsigned self = current_;
    unsigned next = pick();
    if (next == self) return;
    current_ = last_ = next;
    switch_to(fibers_[self], next == kNobody ? main_ : fibers_[next]);
}

void Machine::turn() { go_on_elsewhere(); }

void Machine::spin() {
    lets_first_[current_] = (ready_ | blocked_) & ~(std::uint32_t{1} << current_);
    go_on_elsewhere();
}

void Machine::block(Predicate ready, const void* argument) {
    std::uint32_t self = std::uint32_t{1} << current_;
    waits_[current_] = {ready, argument};
    ready_ &= ~self;
    blocked_ |= self;
    go_on_elsewhere();
}

unsigned Machine::value(unsigned n) {
    unsigned value = chooser_->value(n);
    schedule_.add_value(value);
    return value;
}

void Machine::stop_the_world(void (*look)(void*), void* argument) {
    looking_ = true;
    look(argument);
    looking_ = false;
    if (!failure_.empty()) fail({});
}

void Machine::fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
    if (!inside()) return;
    unsigned self = current_;
    current_ = last_ = kNobody;
    switch_to(fibers_[self], main_);
}

void Machine::run(const Scenario& scenario, Chooser& chooser, std::size_t most_steps) {
    machine = this;
    chooser_ = &chooser;
    schedule_.clear();
    failure_.clear();
    ready_ = blocked_ = daemons_ = 0;
    count_ = 0;
    step_ = 0;
    most_steps_ = most_steps;
    current_ = last_ = kNobody;
    lets_first_ = {};
    scenario(*this);
    if (chooser.begin(count_)) {
        current_ = last_ = pick();
        if (current_ != kNobody) switch_to(main_, fibers_[current_]);
        current_ = kNobody;
        chooser.end(step_);
        if (failure_.empty() && check_) check_();
    }
    for (unsigned i = 0; i < count_; ++i) {
        if (((ready_ | blocked_) >> i & 1) != 0) abandon(fibers_[i]);
        bodies_[i] = nullptr;
    }
    check_ = nullptr;
    machine = nullptr;
}

Report run_all(const Scenario& scenario, Chooser& chooser, std::uint64_t executions,
               std::size_t most_steps) {
    Report report;
    Machine runner;
    auto begin = std::chrono::steady_clock::now();
    while (report.executions < executions) {
        runner.run(scenario, chooser, most_steps);
        if (runner.steps() == 0) break;
        ++report.executions;
        report.steps += runner.steps();
        if (runner.failure().empty()) continue;
        report.failure =
            Failure{runner.failure(), runner.schedule().text(), chooser.seed(), report.executions};
        break;
    }
    report.complete = chooser.complete();
    report.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return report;
}

}  // namespace

void point() noexcept {
    if (machine != nullptr && machine->inside()) machine->turn();
}

void spin() noexcept {
    if (machine != nullptr && machine->inside()) machine->spin();
}

unsigned any_of(unsigned n) noexcept {
    return machine != nullptr && machine->inside() && n > 1 ? machine->value(n) : 0;
}

void require(bool condition, const char* what) noexcept {
    if (!condition && machine != nullptr) machine->fail(what);
}

void stop_the_world(void (*look)(void*), void* argument) noexcept {
    if (machine != nullptr && machine->inside())
        machine->stop_the_world(look, argument);
    else
        look(argument);
}

void block_until(Predicate ready, const void* argument) noexcept {
    if (machine != nullptr && machine->inside()) machine->block(ready, argument);
}

Report explore(const Scenario& scenario, const Plan& plan) {
    if (const char* schedule = std::getenv("WEFT_MODEL_SCHEDULE"))
        return replay(scenario, schedule);
    Plan scaled = plan;
    scaled.executions = effort(plan.executions);
    auto chooser = make_chooser(scaled);
    return run_all(scenario, *chooser, scaled.executions, plan.steps);
}

Report replay(const Scenario& scenario, const std::string& schedule) {
    auto chooser = make_replayer(Schedule::parse(schedule));
    return run_all(scenario, *chooser, 1, Plan{}.steps);
}

std::uint64_t effort(std::uint64_t executions) {
    // ThreadSanitizer makes a fiber anew for each daemon that an execution leaves blocked.
    double factor = WEFT_TSAN ? 0.002 : WEFT_ASAN ? 0.02 : 1.0;
    if (const char* text = std::getenv("WEFT_MODEL_EFFORT")) factor *= std::strtod(text, nullptr);
    return std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(static_cast<double>(executions) * factor));
}

std::string Report::text() const {
    char line[160];
    std::snprintf(line, sizeof line, "%llu executions, %llu steps, %.2f s (%.0f executions/s)%s",
                  static_cast<unsigned long long>(executions),
                  static_cast<unsigned long long>(steps), seconds,
                  seconds > 0 ? static_cast<double>(executions) / seconds : 0.0,
                  complete ? ", all there are" : "");
    std::string text = line;
    if (failure) {
        text += "\nexecution " + std::to_string(failure->execution) + " (seed " +
                std::to_string(failure->seed) + ") failed: " + failure->what;
        // That of an endless loop says little, at length.
        text += "\nagain with WEFT_MODEL_SCHEDULE='" + failure->schedule.substr(0, kMostText) + "'";
    }
    return text;
}

}  // namespace weft::model
