// The third task is created only when the first two are done: 3 s + 1 s.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <string>

using namespace std::chrono_literals;

const auto fetch_data = weft::async("fetch_data", [](int id, std::chrono::seconds delay) {
    std::printf("coroutine %d starting to fetch data\n", id);
    weft::sleep(delay);
    return "sample data from coroutine " + std::to_string(id);
});

int main() {
    weft::run([] {
        auto task1 = weft::create_task(fetch_data(1, 2s));
        auto task2 = weft::create_task(fetch_data(2, 3s));
        std::puts(weft::await(task1).c_str());
        std::puts(weft::await(task2).c_str());
        auto task3 = weft::create_task(fetch_data(3, 1s));
        std::puts(weft::await(task3).c_str());
    });
}
