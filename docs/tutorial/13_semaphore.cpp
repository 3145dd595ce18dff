// Semaphore(2) lets two at a time in: five accesses of 1 s take 3 s.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <mutex>

using namespace std::chrono_literals;

void access_resource(weft::Semaphore& semaphore, int id) {
    std::lock_guard guard(semaphore);
    std::printf("accessing resource %d\n", id);
    weft::sleep(1s);
    std::printf("releasing resource %d\n", id);
}

int main() {
    weft::run([] {
        weft::Semaphore semaphore(2);
        weft::task_group([&](weft::TaskGroup& tg) {
            for (int id = 0; id < 5; ++id) {
                tg.create_task([&semaphore, id] { access_resource(semaphore, id); });
            }
        });
    });
}
