// gather runs them concurrently and gives the results in the order of its arguments: 3 s.
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
        auto [first, second, third] =
            weft::gather(fetch_data(1, 2s), fetch_data(2, 1s), fetch_data(3, 3s));
        for (const auto& result : {first, second, third}) {
            std::printf("received result: %s\n", result.c_str());
        }
    });
}
