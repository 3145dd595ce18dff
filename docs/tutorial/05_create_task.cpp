// Three tasks of 2, 3 and 1 s run concurrently: 3 s in all.
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
        auto task3 = weft::create_task(fetch_data(3, 1s));
        for (const auto& result : {weft::await(task1), weft::await(task2), weft::await(task3)}) {
            std::puts(result.c_str());
        }
    });
}
