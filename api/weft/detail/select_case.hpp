// The cases of weft::select, and what it does with them: select_among() in api/select.cpp.
//
// A select first asks its cases in order whether they can be had now. If none can, it parks, and stands in the line of
// each; Contest (detail/wait_list.hpp) sees to it that one of them wins. A case is one object in the caller's frame,
// alive until the end of the select's statement. Calls come in this order: take_now(); then, if all said no and it
// waits, prepare() of all, enlist() of all until one does not wait, leave() of all but the winner, take() of the
// winner; and handle() of the winner, after leave() of all others in any case.
#pragma once

#include <weft/future.hpp>
#include <weft/queue.hpp>
#include <weft/sync.hpp>
#include <weft/time.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft::detail {

class SelectCase {
public:
    enum class Entry : std::uint8_t {
        waits,
        won,   ///< nobody will unpark the select
        lost,  ///< somebody will
    };

    SelectCase() noexcept = default;
    SelectCase(const SelectCase&) = delete;
    SelectCase& operator=(const SelectCase&) = delete;
    virtual ~SelectCase() = default;

    /// True if it is ready: then it has what it selects. May throw, and then it has nothing.
    virtual bool take_now() = 0;
    /// What may throw or allocate, before it waits.
    virtual void prepare() {}
    /// In the commit of the select's park. A case that has no line waits.
    virtual Entry enlist(Contest&, std::int32_t, Waiter) noexcept { return Entry::waits; }
    /// Out of its line, all as it was. Also if it was never in line, or is in none any more.
    virtual void leave() noexcept {}
    /// It has won in line: takes what was promised, or gives it back and throws, if the select is cancelled.
    virtual void take(lowlevel::Woken woken) {
        // Woken by somebody else, while the one who made it win may still be at the node, under the line's lock.
        if (woken != lowlevel::Woken::by_unpark) leave();
        if (woken == lowlevel::Woken::by_cancel || cancel_due()) lowlevel::throw_cancelled();
    }
    virtual void handle() = 0;
    virtual TimePoint deadline() const noexcept { return lowlevel::kNever; }
    virtual bool is_default() const noexcept { return false; }
};

std::size_t select_among(SelectCase* const* cases, std::size_t n);

/// Where a case needs no handler.
struct NoHandler {
    void operator()() const noexcept {}
};

// --- queues -------------------------------------------------------------------------------------

template <class Queue, class Handler>
class GetCase final : public SelectCase {
    using T = typename Queue::value_type;
    using Item = Stored<T>;

public:
    GetCase(Queue& queue, Handler handler) : queue_(queue), handler_(std::move(handler)) {}

    bool take_now() override {
        if (queue_.try_get(place_)) return true;
        queue_.check_not_refused(queue_.items_);
        return false;
    }
    Entry enlist(Contest& contest, std::int32_t entry, Waiter self) noexcept override {
        node_.item = std::addressof(place_);
        node_.contest = &contest;
        node_.entry = entry;
        in_line_ = true;
        if (queue_.enter_line(queue_.items_, node_, self)) return Entry::waits;
        return node_.turn() == Turn::waiting ? Entry::lost : Entry::won;
    }
    void leave() noexcept override {
        if (in_line_) queue_.quit_line(node_);
    }
    void take(lowlevel::Woken woken) override {
        queue_.end_get(queue_.after_wait(queue_.items_, node_, woken), node_);
    }
    void handle() override {
        Item item(std::move(place_.value));
        std::destroy_at(std::addressof(place_.value));
        handler_(queue_.unwrap(std::move(item)));
    }

private:
    Queue& queue_;
    Handler handler_;
    Room<Item> place_;
    WaitNode node_;
    bool in_line_ = false;
};

/// `Value` is T for one that was copied, T&& for one that shall move if it is put, and stay as it is if not.
template <class Queue, class Value, class Handler>
class PutCase final : public SelectCase {
    using T = typename Queue::value_type;
    using Item = Stored<T>;

public:
    template <class V>
    PutCase(Queue& queue, V&& value, Handler handler)
        : queue_(queue), value_(std::forward<V>(value)), handler_(std::move(handler)) {}
    ~PutCase() override { unbox(); }

    bool take_now() override {
        if (!queue_.full()) {
            prepare();
            if (queue_.try_put(item())) return done();
        }
        queue_.check_not_refused(queue_.room_);
        return false;
    }
    void prepare() override {
        if constexpr (!kQuietMove<T>)
            if (box_ == nullptr) box_ = queue_.fill_box(value_);
    }
    Entry enlist(Contest& contest, std::int32_t entry, Waiter self) noexcept override {
        node_.item = std::addressof(item());
        node_.contest = &contest;
        node_.entry = entry;
        in_line_ = true;
        if (queue_.enter_line(queue_.room_, node_, self)) return Entry::waits;
        return node_.turn() == Turn::waiting ? Entry::lost : Entry::won;
    }
    void leave() noexcept override {
        if (in_line_) queue_.quit_line(node_);
        unbox();
    }
    void take(lowlevel::Woken woken) override {
        queue_.end_put(queue_.after_wait(queue_.room_, node_, woken), node_);
        done();
    }
    void handle() override { handler_(); }

private:
    Item& item() noexcept {
        if constexpr (kQuietMove<T>)
            return value_;
        else
            return box_;
    }
    bool done() noexcept {
        box_ = nullptr;
        return true;
    }
    void unbox() noexcept {
        if constexpr (!kQuietMove<T>)
            if (box_ != nullptr) queue_.empty_box(std::exchange(box_, nullptr), value_);
    }

    Queue& queue_;
    Value value_;
    Handler handler_;
    std::conditional_t<kQuietMove<T>, std::nullptr_t, Box<T>*> box_ = nullptr;  // has the value
    WaitNode node_;
    bool in_line_ = false;
};

// --- others -------------------------------------------------------------------------------------

class EventCase : public SelectCase {
public:
    explicit EventCase(Event& event) noexcept : event_(event) {}
    bool take_now() override { return event_.is_set(); }
    Entry enlist(Contest& contest, std::int32_t entry, Waiter self) noexcept override;
    void leave() noexcept override;

private:
    Event& event_;
    WaitNode node_;
    bool in_line_ = false;
};

class CoreCase : public SelectCase, private JoinNode {
public:
    explicit CoreCase(Core& core) noexcept : core_(core) { notify = on_done; }
    bool take_now() override { return core_.word.done(); }
    Entry enlist(Contest& contest, std::int32_t entry, Waiter self) noexcept override;
    void leave() noexcept override;

private:
    static void on_done(JoinNode& self, Core& core) noexcept;

    Core& core_;
    Contest* contest_ = nullptr;  // null: not in line
    std::int32_t entry_ = 0;
    Waiter waiter_;
};

class DeadlineCase : public SelectCase {
public:
    explicit DeadlineCase(TimePoint deadline) noexcept : deadline_(deadline) {}
    bool take_now() override;
    TimePoint deadline() const noexcept override { return deadline_; }

private:
    TimePoint deadline_;
};

class DefaultCase : public SelectCase {
public:
    bool take_now() override { return false; }
    bool is_default() const noexcept override { return true; }
};

/// With a handler that takes nothing.
template <class Case, class Handler>
class Handled final : public Case {
public:
    template <class... A>
    explicit Handled(Handler handler, A&&... a)
        : Case(std::forward<A>(a)...), handler_(std::move(handler)) {}
    void handle() override { handler_(); }

private:
    Handler handler_;
};

/// With a handler that takes the handle, or nothing.
template <class Handle, class Handler>
class HandleCase final : public CoreCase {
public:
    HandleCase(Handle handle, Handler handler)
        : CoreCase(handle.core_or_throw()),
          handle_(std::move(handle)),
          handler_(std::move(handler)) {}
    void handle() override {
        if constexpr (std::is_invocable_v<Handler&, const Handle&>)
            handler_(static_cast<const Handle&>(handle_));
        else
            handler_();
    }

private:
    Handle handle_;
    Handler handler_;
};

}  // namespace weft::detail
