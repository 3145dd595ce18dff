// The work-stealing deque against its invariant [place], in every schedule: each item is obtained exactly once, and
// each dead entry gives its reference back exactly once, before the item's block may be used again.
//
// An item has two references to begin with, as a task has: the runtime's, given back by whoever obtains the item, and
// the owner's handle. A dead entry holds a third one, which claim()'s caller adds.
#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include <gtest/gtest.h>

#include "checks.hpp"
#include "deque.hpp"

namespace weft::model {
namespace {

/// Planted: the thief takes the entry for the item, whatever place says.
class BlindPlace : public Atomic<std::uint64_t> {
public:
    using Atomic::Atomic;
    bool compare_exchange_strong(std::uint64_t&, std::uint64_t value) noexcept {
        store(value);
        return true;
    }
};

template <class Place>
struct BasicItem {
    Place place{0};
    Atomic<int> refs{2};
    int obtained = 0;
    int dead_entries = 0;

    void obtain() {
        require(obtained == 0, "an item was obtained twice");
        ++obtained;
        drop();
    }
    void drop() { require(refs.fetch_sub(1) > 0, "an item has fewer references than holders"); }
};

using Claim = std::function<void(int)>;

template <class DequeEnv, class Item>
struct State {
    using Queue = rt::Deque<DequeEnv, Item>;
    enum class DeadEntry { counted, forgotten };

    Queue queue;
    std::array<Item, 6> items;
    DeadEntry dead_entry = DeadEntry::counted;

    explicit State(std::size_t capacity = 4, std::int64_t first = 1)
        : queue(3, rt::Rivals::thieves, capacity, first) {}

    static auto dead() {
        return [](Item* item) {
            ++item->dead_entries;
            item->drop();
        };
    }
    void push(int i) { queue.push(&items[static_cast<std::size_t>(i)]); }
    bool pop() {
        Item* item = queue.pop_oldest(dead());
        if (item != nullptr) item->obtain();
        return item != nullptr;
    }
    void claim(int i) {
        Item& item = items[static_cast<std::size_t>(i)];
        if (queue.claim_newest(&item)) return item.obtain();
        using Claimed = typename Queue::Claimed;
        Claimed claimed = queue.claim(&item, dead());
        if (claimed == Claimed::no) return;
        if (claimed == Claimed::left_dead_entry && dead_entry == DeadEntry::counted)
            item.refs.fetch_add(1);
        item.obtain();
    }
    void steal() {
        if (Item* item = queue.steal(dead())) item->obtain();
    }
    void drain() {
        while (pop()) {
        }
    }
    void check(int pushed) {
        drain();
        require(queue.size() == 0, "a drained deque is not empty");
        for (int i = 0; i < pushed; ++i) {
            Item& item = items[static_cast<std::size_t>(i)];
            require(item.obtained == 1, "an item was lost");
            require(item.refs.peek() == 1,
                    "a reference of a dead entry was lost, or given back twice");
        }
    }
};

using Item = BasicItem<Atomic<std::uint64_t>>;
using Sound = State<Env, Item>;

/// An owner's program against so many thieves, each of which tries so often.
template <class S>
Scenario owner_and_thieves(std::function<std::shared_ptr<S>()> make, std::function<void(S&)> owner,
                           int pushed, int thieves, int tries) {
    return [=](Execution& execution) {
        auto state = make();
        execution.thread([state, owner] { owner(*state); });
        for (int t = 0; t < thieves; ++t)
            execution.thread([state, tries] {
                for (int i = 0; i < tries; ++i) state->steal();
            });
        execution.at_end([state, pushed] { state->check(pushed); });
    };
}

template <class S>
std::function<std::shared_ptr<S>()> fresh(std::size_t capacity = 4, std::int64_t first = 1) {
    return [=] { return std::make_shared<S>(capacity, first); };
}

template <class S>
void push_three_pop_three(S& s) {
    s.push(0);
    s.push(1);
    s.pop();
    s.push(2);
    s.pop();
    s.pop();
}

template <class S>
void push_three_claim_all(S& s) {
    s.push(0);
    s.push(1);
    s.push(2);
    s.claim(1);
    s.claim(2);
    s.claim(0);
}

// Nested fork-join: children are awaited in the order they were made, and a late one while others are made.
template <class S>
void fork_and_join(S& s) {
    s.push(0);
    s.push(1);
    s.claim(0);
    s.push(2);
    s.claim(1);
    s.pop();
    s.claim(2);
}

template <class S>
void fill_beyond_two(S& s) {
    for (int i = 0; i < 5; ++i) s.push(i);
    s.claim(2);
    s.pop();
    s.claim(4);
}

constexpr std::int64_t kBeforeWrap = (std::int64_t{1} << 48) - 2;

TEST(DequeModel, PushAndPopAgainstAThief) {
    expect_holds(owner_and_thieves<Sound>(fresh<Sound>(), push_three_pop_three<Sound>, 3, 1, 3),
                 {.preemptions = 3});
}

TEST(DequeModel, PushAndPopAgainstTwoThieves) {
    expect_holds(owner_and_thieves<Sound>(fresh<Sound>(), push_three_pop_three<Sound>, 3, 2, 2));
}

TEST(DequeModel, ClaimsAgainstAThief) {
    expect_holds(owner_and_thieves<Sound>(fresh<Sound>(), push_three_claim_all<Sound>, 3, 1, 3),
                 {.preemptions = 3});
}

TEST(DequeModel, ClaimsAgainstTwoThieves) {
    expect_holds(owner_and_thieves<Sound>(fresh<Sound>(), push_three_claim_all<Sound>, 3, 2, 2));
}

TEST(DequeModel, ForkAndJoinAgainstTwoThieves) {
    expect_holds(owner_and_thieves<Sound>(fresh<Sound>(), fork_and_join<Sound>, 3, 2, 2));
}

TEST(DequeModel, GrowthFromTwoAgainstTwoThieves) {
    expect_holds(owner_and_thieves<Sound>(fresh<Sound>(2), fill_beyond_two<Sound>, 5, 2, 2));
}

TEST(DequeModel, PositionsMayWrap) {
    expect_holds(owner_and_thieves<Sound>(fresh<Sound>(4, kBeforeWrap), push_three_claim_all<Sound>,
                                          3, 1, 3));
    expect_holds(
        owner_and_thieves<Sound>(fresh<Sound>(2, kBeforeWrap), fill_beyond_two<Sound>, 5, 2, 2));
}

// A task that was claimed from the middle waits and is woken: the same item is in the deque a second time, beside its
// own dead entry.
TEST(DequeModel, AnItemMayComeBackWhileItsDeadEntryIsThere) {
    auto owner = [](Sound& s) {
        s.push(0);
        s.push(1);
        s.push(2);
        if (s.queue.claim(&s.items[1], Sound::dead()) == Sound::Queue::Claimed::left_dead_entry) {
            s.items[1].refs.fetch_add(1);
            s.push(1);
        } else if (s.items[1].obtained == 0 && s.items[1].place.peek() == 0) {
            s.push(1);  // taken out whole, since the others had been stolen
        }
        s.pop();
        s.claim(1);
    };
    auto scenario = [owner](Execution& execution) {
        auto state = std::make_shared<Sound>();
        // A thief that stole item 1 obtains it before the owner looks, so no thief for that one.
        execution.thread([state, owner] { owner(*state); });
        execution.thread([state] { state->steal(); });
        execution.at_end([state] { state->check(3); });
    };
    expect_holds(scenario, {.preemptions = 3});
}

// A worker that steals puts what it got into a deque of its own, from which the item may be stolen back.
TEST(DequeModel, StolenItemsMoveThroughTwoDeques) {
    auto scenario = [](Execution& execution) {
        struct Two {
            Sound first;
            rt::Deque<Env, Item> second{4, rt::Rivals::thieves, 4};
        };
        auto two = std::make_shared<Two>();
        execution.thread([two] {
            two->first.push(0);
            two->first.push(1);
            two->first.push(2);
            two->first.claim(1);
            two->first.claim(2);
            if (Item* back = two->second.steal(Sound::dead())) back->obtain();
        });
        execution.thread([two] {
            for (int i = 0; i < 2; ++i)
                if (Item* item = two->first.queue.steal(Sound::dead())) two->second.push(item);
            if (Item* item = two->second.pop_oldest(Sound::dead())) item->obtain();
        });
        execution.at_end([two] {
            while (Item* item = two->second.pop_oldest(Sound::dead())) item->obtain();
            two->first.check(3);
        });
    };
    expect_holds(scenario);
}

TEST(DequeModel, WithoutTheCasOnPlaceAnItemIsObtainedTwice) {
    using Broken = State<Env, BasicItem<BlindPlace>>;
    expect_found(owner_and_thieves<Broken>(fresh<Broken>(), push_three_claim_all<Broken>, 3, 2, 2));
}

TEST(DequeModel, WithATornCasOnTopAnItemIsObtainedTwice) {
    using Broken = State<TornEnv, Item>;
    expect_found(owner_and_thieves<Broken>(fresh<Broken>(), push_three_pop_three<Broken>, 3, 2, 2));
}

TEST(DequeModel, WithoutTheReferenceOfADeadEntryOneIsGivenBackTwice) {
    auto make = [] {
        auto state = std::make_shared<Sound>();
        state->dead_entry = Sound::DeadEntry::forgotten;
        return state;
    };
    expect_found(owner_and_thieves<Sound>(make, push_three_claim_all<Sound>, 3, 1, 3));
}

}  // namespace
}  // namespace weft::model
