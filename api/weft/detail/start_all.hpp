// Making handles of all elements of a range: what gather and as_completed start.
#pragma once

#include <weft/detail/at_most.hpp>
#include <weft/future.hpp>

#include <concepts>
#include <cstddef>
#include <ranges>
#include <source_location>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft {

namespace detail {

template <class Range>
concept AwaitableRange = std::ranges::input_range<Range>;

template <class Range>
using HandleOf = std::remove_cvref_t<decltype(ensure_future(
    std::declval<std::ranges::range_value_t<Range>&&>(), std::declval<std::source_location>()))>;

/// What a task is made of: moved out of a range that is given away, and what cannot be copied; else a copy.
template <class Range, class Element>
decltype(auto) take_element(Element& element) {
    using Plain = std::remove_cvref_t<Range>;
    constexpr bool kGivenAway = !std::is_lvalue_reference_v<Range> && !std::ranges::view<Plain>;
    if constexpr (kGivenAway || !std::copy_constructible<std::remove_const_t<Element>>)
        return std::move(element);
    else
        return std::as_const(element);
}

/// Handles as they are; of anything else, started tasks.
template <class Range>
auto start_all(Range&& range, std::source_location where) {
    using Element = std::ranges::range_value_t<Range>;
    std::vector<HandleOf<Range>> handles;
    if constexpr (std::ranges::sized_range<Range>) handles.reserve(std::ranges::size(range));
    for (auto&& element : range) {
        if constexpr (Handle<Element>)
            handles.push_back(ensure_future(element, where));
        else
            handles.push_back(ensure_future(take_element<Range>(element), where));
    }
    return handles;
}

/// Gives this task's context to one that is launched later, by somebody else.
void prepare_launch(TaskCore& task) noexcept;
/// Tasks that are made and not launched; closes them unless somebody else has taken charge of them.
class Unlaunched {
public:
    Unlaunched() = default;
    Unlaunched(Unlaunched&&) noexcept = default;
    Unlaunched& operator=(Unlaunched&&) = delete;
    ~Unlaunched();
    /// So that the next add() cannot fail.
    void make_room() {
        if (tasks_.size() == tasks_.capacity()) tasks_.reserve(2 * tasks_.size() + 8);
    }
    void add(TaskCore& task) { tasks_.push_back(&task); }
    void release() noexcept { tasks_.clear(); }

private:
    std::vector<TaskCore*> tasks_;
};

template <class H>
struct Prepared {
    std::vector<H> handles{};
    Unlaunched unlaunched{};
};

/// Tasks that are to be launched later.
template <class Range>
auto prepare_all(Range&& range, std::source_location where) {
    using Element = std::ranges::range_value_t<Range>;
    static_assert(
        Startable<Element>,
        "weft::at_most needs coroutine objects or callables: a task or future runs already");
    using R = StartResult<Element>;
    Prepared<Task<R>> made;
    for (auto&& element : range) {
        made.handles.emplace_back();
        made.unlaunched.make_room();
        TaskCore& core = make_task_core<R>(take_element<Range>(element), where);
        made.handles.back() = Task<R>(CoreRef::adopt(core));
        made.unlaunched.add(core);
        prepare_launch(core);
    }
    return made;
}

template <class H>
std::vector<Core*> cores_of(const std::vector<H>& handles) {
    std::vector<Core*> cores;
    cores.reserve(handles.size());
    for (const H& handle : handles) cores.push_back(handle.core());
    return cores;
}

}  // namespace detail

}  // namespace weft
