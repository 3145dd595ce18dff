// A coroutine object that nobody awaits is reported, on stderr: coroutine 'main' was never awaited.
#include <weft/weft.hpp>

#include <cstdio>

const auto main_coroutine = weft::async("main", [] { std::puts("never printed"); });

int main() {
    // Coroutine is [[nodiscard]]: without the cast the compiler says it first.
    static_cast<void>(main_coroutine());
    std::puts("nothing ran");
}
