// A future promises a value; awaiting it waits for the value, not for the task that sets it: 2 s.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <string>

using namespace std::chrono_literals;

const auto set_future_result =
    weft::async("set_future_result", [](weft::Future<std::string> future, std::string value) {
        weft::sleep(2s);
        future.set_result(value);
        std::printf("set the future's result to: %s\n", value.c_str());
    });

int main() {
    weft::run([] {
        weft::Future<std::string> future;
        weft::create_task(set_future_result(future, "future result is ready!"));
        const std::string& result = weft::await(future);
        std::printf("received the future's result: %s\n", result.c_str());
    });
}
