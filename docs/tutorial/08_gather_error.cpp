// gather passes the first failure on and does NOT cancel the others.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>

using namespace std::chrono_literals;

void fails(std::chrono::seconds delay) {
    weft::sleep(delay);
    throw std::runtime_error("task failed");
}

void succeeds(std::chrono::seconds delay) {
    weft::sleep(delay);
    std::puts("sibling finished anyway");
}

int main() {
    weft::run([] {
        auto sibling = weft::create_task([] { succeeds(2s); });
        try {
            weft::gather([] { fails(1s); }, sibling);
        } catch (const std::runtime_error& error) {
            std::printf("gather raised: %s\n", error.what());
        }
        std::printf("sibling done: %s\n", sibling.done() ? "True" : "False");
        weft::await(sibling);
    });
}
