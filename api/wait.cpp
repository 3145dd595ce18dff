#include <weft/detail/context_map.hpp>
#include <weft/detail/engine.hpp>
#include <weft/wait.hpp>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "detail/watch.hpp"

namespace weft {

AtMost at_most(std::size_t n) {
    if (n == 0) throw std::invalid_argument("weft::at_most: it must be one at least");
    return AtMost{n};
}

namespace detail {

void prepare_launch(TaskCore& task) noexcept {
    if (task.context == nullptr) task.context = context_snapshot(current_context());
}

Unlaunched::~Unlaunched() {
    for (TaskCore* task : tasks_) close_unlaunched(*task);
}

std::vector<bool> first_of_each(const std::vector<Core*>& cores) {
    std::vector<std::pair<Core*, std::size_t>> sorted;
    sorted.reserve(cores.size());
    for (std::size_t i = 0; i < cores.size(); ++i) sorted.emplace_back(cores[i], i);
    std::sort(sorted.begin(), sorted.end());
    std::vector<bool> first(cores.size());
    for (std::size_t i = 0; i < sorted.size(); ++i)
        first[sorted[i].second] = i == 0 || sorted[i].first != sorted[i - 1].first;
    return first;
}

namespace {

struct WaitWatch : Watch {
    ReturnWhen return_when = ALL_COMPLETED;
    bool failed = false;  // guarded by lock

    void hear(Core& core, std::size_t) noexcept override {
        failed |= core.outcome == Outcome::error;
    }
    bool over() const noexcept override {
        return pending == 0 || (return_when == FIRST_COMPLETED && pending < size()) ||
               (return_when == FIRST_EXCEPTION && failed);
    }
};

}  // namespace

void wait_cores(const std::vector<Core*>& cores, ReturnWhen return_when, TimePoint deadline) {
    if (cores.empty()) throw std::invalid_argument("weft::wait: there is nothing to wait for");
    if (return_when > FIRST_EXCEPTION)
        throw std::invalid_argument("weft::wait: return_when is none of the three");
    auto watch = std::make_shared<WaitWatch>();
    watch->return_when = return_when;
    watch->begin(cores.data(), cores.size());
    lowlevel::Woken woken = watch->wait({"wait", watch.get()}, deadline);
    watch->end();
    // Where all has ended already, a cancel strikes all the same, as in asyncio: a loop around wait() can be ended.
    if (woken == lowlevel::Woken::by_cancel) lowlevel::throw_cancelled();
    lowlevel::checkpoint();
}

class Completions::Order : public Watch {
public:
    explicit Order(std::size_t n) { ended_.reserve(n); }

    void hear(Core&, std::size_t index) noexcept override { ended_.push_back(index); }
    bool over() const noexcept override { return given_ < ended_.size() || pending == 0; }

    bool all_given() {
        std::lock_guard guard(lock);
        return pending == 0 && given_ == ended_.size();
    }
    /// After wait() has said that there is one.
    std::size_t take() {
        std::lock_guard guard(lock);
        return ended_[given_++];
    }

private:
    std::vector<std::size_t> ended_;  // room for all; guarded by lock
    std::size_t given_ = 0;           // guarded by lock
};

Completions::Completions(std::vector<Core*> cores, TimePoint deadline, std::size_t at_most)
    : cores_(std::move(cores)),
      deadline_(deadline),
      order_(std::make_shared<Order>(cores_.size())) {
    order_->begin(cores_.data(), cores_.size(), at_most);
}

Completions::~Completions() { order_->end(); }

std::optional<std::size_t> Completions::next() {
    if (order_->all_given()) return std::nullopt;
    lowlevel::Woken woken = order_->wait({"as_completed", order_.get()}, deadline_);
    if (woken != lowlevel::Woken::by_cancel) lowlevel::checkpoint();
    switch (woken) {
        case lowlevel::Woken::by_cancel:
            lowlevel::throw_cancelled();
        case lowlevel::Woken::by_deadline:
            throw TimeoutError();
        case lowlevel::Woken::by_unpark:
            return order_->take();
    }
    return std::nullopt;
}

}  // namespace detail

}  // namespace weft
