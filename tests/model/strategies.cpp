#include "strategies.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <sstream>

namespace weft::model {

namespace {

class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL | 1) {
        for (int i = 0; i < 4; ++i) next();
    }
    std::uint64_t next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545F4914F6CDD1DULL;
    }
    unsigned below(unsigned n) { return static_cast<unsigned>(((next() >> 32) * n) >> 32); }

private:
    std::uint64_t state_;
};

unsigned nth_bit(std::uint32_t set, unsigned n) {
    for (; n > 0; --n) set &= set - 1;
    return static_cast<unsigned>(std::countr_zero(set));
}

/// Common to those that draw by a seed: a budget of executions.
class Seeded : public Chooser {
public:
    explicit Seeded(const Plan& plan) : next_seed_(plan.first_seed), left_(plan.executions) {}
    bool begin(unsigned threads) override {
        if (left_ == 0) return false;
        --left_;
        seed_ = next_seed_++;
        random_ = Random(seed_);
        begin_seeded(threads);
        return true;
    }
    unsigned value(unsigned n) override { return random_.below(n); }
    std::uint64_t seed() const override { return seed_; }

protected:
    virtual void begin_seeded(unsigned /*threads*/) {}
    Random random_{1};

private:
    std::uint64_t next_seed_;
    std::uint64_t left_;
    std::uint64_t seed_ = 0;
};

class RandomWalk final : public Seeded {
public:
    using Seeded::Seeded;
    unsigned thread(const Moment& moment) override {
        auto n = static_cast<unsigned>(std::popcount(moment.enabled));
        return n == 1 ? nth_bit(moment.enabled, 0) : nth_bit(moment.enabled, random_.below(n));
    }
};

class Pct final : public Seeded {
public:
    explicit Pct(const Plan& plan) : Seeded(plan), changes_(plan.depth - 1) {}

    unsigned thread(const Moment& moment) override {
        // Who spins is no use to anybody until others have run: last of all, for good.
        if (moment.current != kNobody && !moment.may_stay) priority_[moment.current] = --lowest_;
        for (std::size_t i = 0; i < changes_.size(); ++i)
            if (changes_[i] == moment.step && moment.current != kNobody)
                priority_[moment.current] = static_cast<int>(i);
        unsigned best = nth_bit(moment.enabled, 0);
        for (std::uint32_t rest = moment.enabled; rest != 0; rest &= rest - 1) {
            auto candidate = static_cast<unsigned>(std::countr_zero(rest));
            if (priority_[candidate] > priority_[best]) best = candidate;
        }
        return best;
    }
    void end(std::size_t steps) override { longest_ = std::max(longest_, steps); }

private:
    void begin_seeded(unsigned threads) override {
        lowest_ = 0;
        for (unsigned i = 0; i < threads; ++i)
            priority_[i] = 1000 + static_cast<int>(random_.below(1'000'000));
        for (std::size_t& change : changes_)
            change = random_.below(static_cast<unsigned>(longest_));
    }

    std::vector<std::size_t> changes_;
    std::array<int, 32> priority_{};
    int lowest_ = 0;
    std::size_t longest_ = 20;
};

class Exhaustive final : public Chooser {
public:
    explicit Exhaustive(const Plan& plan) : bound_(plan.preemptions), left_(plan.executions) {}

    bool begin(unsigned) override {
        if (started_) {
            while (!path_.empty() && path_.back().others == 0) path_.pop_back();
            if (path_.empty()) {
                complete_ = true;
                return false;
            }
            Node& node = path_.back();
            node.chosen = nth_bit(node.others, 0);
            node.others &= node.others - 1;
        }
        if (left_ == 0) return false;
        --left_;
        started_ = true;
        at_ = 0;
        preemptions_ = 0;
        return true;
    }

    unsigned thread(const Moment& moment) override {
        std::uint32_t candidates = moment.enabled;
        unsigned first = nth_bit(candidates, 0);
        if (moment.may_stay) {
            first = moment.current;
            if (preemptions_ >= bound_) candidates = std::uint32_t{1} << first;
        }
        unsigned chosen = choose(candidates, first);
        if (moment.may_stay && chosen != moment.current) ++preemptions_;
        return chosen;
    }
    unsigned value(unsigned n) override { return choose((std::uint32_t{1} << n) - 1, 0); }
    bool complete() const override { return complete_; }

private:
    struct Node {
        unsigned chosen;
        std::uint32_t others;  // not tried yet
    };

    unsigned choose(std::uint32_t candidates, unsigned first) {
        if ((candidates & (candidates - 1)) == 0) return first;
        if (at_ == path_.size())
            path_.push_back({first, candidates & ~(std::uint32_t{1} << first)});
        return path_[at_++].chosen;
    }

    const unsigned bound_;
    std::uint64_t left_;
    std::vector<Node> path_;
    std::size_t at_ = 0;
    unsigned preemptions_ = 0;
    bool started_ = false;
    bool complete_ = false;
};

class Replayer final : public Chooser {
public:
    explicit Replayer(Schedule schedule) : schedule_(std::move(schedule)) {}
    bool begin(unsigned) override {
        bool first = !begun_;
        begun_ = true;
        return first;
    }
    // Beyond its end, or where the code has changed since: whoever can.
    unsigned thread(const Moment& moment) override {
        if (at_ < schedule_.size() && !schedule_.is_value(at_)) {
            unsigned wanted = schedule_.at(at_++);
            if ((moment.enabled >> wanted & 1) != 0) return wanted;
        }
        return moment.may_stay ? moment.current : nth_bit(moment.enabled, 0);
    }
    unsigned value(unsigned n) override {
        if (at_ >= schedule_.size() || !schedule_.is_value(at_)) return 0;
        return std::min(schedule_.at(at_++), n - 1);
    }

private:
    Schedule schedule_;
    std::size_t at_ = 0;
    bool begun_ = false;
};

}  // namespace

std::unique_ptr<Chooser> make_chooser(const Plan& plan) {
    switch (plan.strategy) {
        case Strategy::random:
            return std::make_unique<RandomWalk>(plan);
        case Strategy::pct:
            return std::make_unique<Pct>(plan);
        case Strategy::exhaustive:
            return std::make_unique<Exhaustive>(plan);
    }
    return nullptr;
}

std::unique_ptr<Chooser> make_replayer(Schedule schedule) {
    return std::make_unique<Replayer>(std::move(schedule));
}

std::string Schedule::text() const {
    std::string text;
    for (std::size_t i = 0; i < choices_.size();) {
        std::size_t end = i + 1;
        while (!is_value(i) && end < choices_.size() && choices_[end] == choices_[i]) ++end;
        if (!text.empty()) text += ' ';
        text += (is_value(i) ? "v" : "") + std::to_string(at(i));
        if (end - i > 1) text += "x" + std::to_string(end - i);
        i = end;
    }
    return text;
}

Schedule Schedule::parse(const std::string& text) {
    Schedule schedule;
    std::istringstream words(text);
    for (std::string word; words >> word;) {
        if (word[0] == 'v') {
            schedule.add_value(static_cast<unsigned>(std::stoul(word.substr(1))));
            continue;
        }
        auto x = word.find('x');
        unsigned long times = x == std::string::npos ? 1 : std::stoul(word.substr(x + 1));
        for (; times > 0; --times)
            schedule.add_thread(static_cast<unsigned>(std::stoul(word.substr(0, x))));
    }
    return schedule;
}

}  // namespace weft::model
