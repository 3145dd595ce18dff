// Calling a coroutine function gives a coroutine object; nothing runs until it is run or awaited.
#include <weft/weft.hpp>

#include <cstdio>
#include <type_traits>
#include <utility>

const auto main_coroutine = weft::async("main", [] { std::puts("start of main coroutine"); });

int main() {
    auto coroutine = main_coroutine();
    static_assert(std::is_same_v<decltype(coroutine), weft::Coroutine<void>>);
    std::puts("made a coroutine");
    weft::run(std::move(coroutine));
}
