// Two coroutine objects awaited one after the other take the sum of their times: 4 s.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

using namespace std::chrono_literals;

weft::Coroutine<std::string> fetch_data(std::chrono::seconds delay, int id) {
    return weft::coroutine([=] {
        std::printf("fetching data %d\n", id);
        weft::sleep(delay);
        std::printf("data fetched %d\n", id);
        return "data " + std::to_string(id);
    });
}

int main() {
    weft::run([] {
        auto first = fetch_data(2s, 1);
        auto second = fetch_data(2s, 2);
        std::printf("received result: %s\n", weft::await(std::move(first)).c_str());
        std::printf("received result: %s\n", weft::await(std::move(second)).c_str());
    });
}
