// expect: a range of awaitables that give references has no std::vector of results
#include <weft/weft.hpp>

int main() {
    static int value = 0;
    auto refer = []() -> int& { return value; };
    std::vector jobs{refer};
    weft::gather(jobs);
}
