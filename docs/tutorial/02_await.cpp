// await runs a coroutine to its end, inline, before the next line.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

using namespace std::chrono_literals;

weft::Coroutine<std::string> fetch_data(std::chrono::seconds delay) {
    return weft::coroutine([=] {
        std::puts("fetching data");
        weft::sleep(delay);
        std::puts("data fetched");
        return std::string("some data");
    });
}

int main() {
    weft::run([] {
        std::puts("start of main coroutine");
        auto coroutine = fetch_data(2s);
        const std::string result = weft::await(std::move(coroutine));
        std::printf("received result: %s\n", result.c_str());
        std::puts("end of main coroutine");
    });
}
