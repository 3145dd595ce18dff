#include <weft/race.hpp>

namespace weft::detail {

namespace {

class Attempts {
public:
    Attempts() = default;
    Attempts(const Attempts&) = delete;
    Attempts& operator=(const Attempts&) = delete;
    ~Attempts() {
        ShieldScope shield;
        for (Core* attempt : all_) {
            cancel_core(*attempt, {});
            attempt->error_read.store(true);  // asyncio: failures of a race are no news
        }
        for (Core* attempt : all_)
            while (!attempt->word.done())
                join_core(*attempt, lowlevel::kNever, lowlevel::Interrupt::never,
                          {"staggered_race", attempt});
    }

    void add(Core& attempt) { all_.push_back(&attempt); }

    std::optional<std::size_t> winner() const noexcept {
        for (std::size_t i = 0; i < all_.size(); ++i)
            if (all_[i]->word.done() && all_[i]->outcome == Outcome::value) return i;
        return std::nullopt;
    }
    bool latest_failed() const noexcept { return all_.empty() || all_.back()->word.done(); }
    std::vector<Core*> running() const {
        std::vector<Core*> running;
        for (Core* attempt : all_)
            if (!attempt->word.done()) running.push_back(attempt);
        return running;
    }

private:
    std::vector<Core*> all_;
};

}  // namespace

std::optional<std::size_t> race(Core* (*start)(void* argument), void* argument, TimeLimit delay) {
    Attempts attempts;
    TimePoint deadline = lowlevel::kNever;
    bool more = true;
    for (;;) {
        // First those that have ended, then the next start: what wins while one is started shall not be raced against.
        if (auto winner = attempts.winner()) return winner;
        if (more && (attempts.latest_failed() || now() >= deadline)) {
            Core* attempt = start(argument);
            more = attempt != nullptr;
            if (more) attempts.add(*attempt);
            deadline = more ? delay.deadline() : lowlevel::kNever;
            continue;
        }
        std::vector<Core*> running = attempts.running();
        if (running.empty()) return std::nullopt;
        wait_cores(running, FIRST_COMPLETED, deadline);
    }
}

}  // namespace weft::detail
