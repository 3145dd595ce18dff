// What await takes: for the cases in which asyncio refuses at run time what does not compile here.
#pragma once

#include <weft/weft.hpp>

namespace weft::test {

template <class T>
concept Awaitable = requires(T& x) { weft::await(x); };

static_assert(Awaitable<Task<int>> && Awaitable<Future<int>> && Awaitable<Coroutine<int>>);

}  // namespace weft::test
