// How a select chooses. Who wins is decided by a Contest: detail/wait_list.hpp.
#include <weft/detail/engine.hpp>
#include <weft/detail/select_case.hpp>

#include <algorithm>
#include <utility>

namespace weft::detail {

using lowlevel::kNever;
using lowlevel::Woken;
using Entry = SelectCase::Entry;

// --- cases --------------------------------------------------------------------------------------

Entry EventCase::enlist(Contest& contest, std::int32_t entry, Waiter self) noexcept {
    node_.waiter = self;
    node_.contest = &contest;
    node_.entry = entry;
    in_line_ = true;
    std::uint8_t flags = event_.lock_word();
    Entry result = Entry::waits;
    if (flags == 0)
        event_.waiters_.push_back(node_);
    else
        result = node_.claim() ? Entry::won : Entry::lost;
    event_.unlock_word(flags);
    return result;
}

void EventCase::leave() noexcept {
    if (!in_line_) return;
    std::uint8_t flags = event_.lock_word();
    if (node_.linked()) node_.unlink();
    event_.unlock_word(flags);
}

Entry CoreCase::enlist(Contest& contest, std::int32_t entry, Waiter self) noexcept {
    contest_ = &contest;
    entry_ = entry;
    waiter_ = self;
    if (add_joiner(core_, *this)) return Entry::waits;
    return contest.claim(entry) ? Entry::won : Entry::lost;
}

void CoreCase::leave() noexcept {
    if (contest_ != nullptr) remove_joiner(core_, *this);
}

void CoreCase::on_done(JoinNode& self, Core&) noexcept {
    auto& node = static_cast<CoreCase&>(self);
    if (node.contest_->claim(node.entry_)) lowlevel::unpark(node.waiter_);
}

bool DeadlineCase::take_now() { return deadline_ <= now(); }

// --- the choice ---------------------------------------------------------------------------------

namespace {

class Select {
public:
    Select(SelectCase* const* cases, std::size_t n) noexcept : cases_(cases), n_(n) {}

    std::size_t run() {
        std::size_t winner = find_ready();
        if (winner < n_) {
            leave_all_but(winner);
        } else {
            winner = wait();
        }
        cases_[winner]->handle();
        return winner;
    }

private:
    // n: none is, and there is no default.
    std::size_t find_ready() {
        std::size_t fallback = n_;
        for (std::size_t i = 0; i < n_; ++i) {
            if (cases_[i]->is_default())
                fallback = std::min(fallback, i);
            else if (cases_[i]->take_now())
                return i;
        }
        return fallback;
    }

    std::size_t wait() {
        std::size_t first_deadline = 0;
        for (std::size_t i = 0; i < n_; ++i) {
            cases_[i]->prepare();
            if (cases_[i]->deadline() < cases_[first_deadline]->deadline()) first_deadline = i;
        }
        TimePoint deadline = cases_[first_deadline]->deadline();
        if (deadline != kNever) lowlevel::require_task("select with a timeout");

        auto commit = [this](Waiter self) noexcept { return enlist_all(self); };
        Woken woken = lowlevel::park({"select", this}, commit, deadline);
        if (woken == Woken::by_deadline) contest_.claim(static_cast<std::int32_t>(first_deadline));
        if (woken == Woken::by_cancel) contest_.claim(Contest::kCancelled);

        std::int32_t winner = contest_.winner();
        auto index = static_cast<std::size_t>(winner);
        leave_all_but(winner >= 0 ? index : n_);
        if (winner == Contest::kCancelled) lowlevel::throw_cancelled();
        cases_[index]->take(woken);
        return index;
    }

    // False: an entry has won at once, so nobody will unpark. A claim by a line that was entered before leads to an
    // unpark, now or soon: the park meets it.
    bool enlist_all(Waiter self) noexcept {
        for (std::size_t i = 0; i < n_ && contest_.winner() == Contest::kOpen; ++i) {
            switch (cases_[i]->enlist(contest_, static_cast<std::int32_t>(i), self)) {
                case Entry::waits:
                    break;
                case Entry::won:
                    return false;
                case Entry::lost:
                    return true;
            }
        }
        return true;
    }

    void leave_all_but(std::size_t winner) noexcept {
        for (std::size_t i = 0; i < n_; ++i)
            if (i != winner) cases_[i]->leave();
    }

    SelectCase* const* const cases_;
    const std::size_t n_;
    Contest contest_;
};

}  // namespace

std::size_t select_among(SelectCase* const* cases, std::size_t n) { return Select(cases, n).run(); }

}  // namespace weft::detail
