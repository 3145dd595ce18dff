// The first failure cancels the other tasks; failures come as one exception group: 1 s, not 5.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>

using namespace std::chrono_literals;

void fails(std::chrono::seconds delay) {
    weft::sleep(delay);
    throw std::runtime_error("task failed");
}

void long_task() {
    try {
        weft::sleep(5s);
        std::puts("never printed");
    } catch (const weft::CancelledError&) {
        std::puts("sibling cancelled");
        throw;
    }
}

int main() {
    weft::run([] {
        try {
            weft::task_group([](weft::TaskGroup& tg) {
                tg.create_task(long_task);
                tg.create_task([] { fails(1s); });
            });
        } catch (const weft::ExceptionGroup& group) {
            try {
                std::rethrow_exception(group.exceptions()[0]);
            } catch (const std::runtime_error& error) {
                std::printf("group of %zu error: %s\n", group.exceptions().size(), error.what());
            }
        }
    });
}
