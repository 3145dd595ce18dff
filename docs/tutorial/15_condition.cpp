// A Condition waits for a predicate under a lock: 1 s.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <deque>
#include <mutex>
#include <string>

using namespace std::chrono_literals;

std::deque<std::string> items;

void consumer(weft::Condition& condition, int id) {
    std::lock_guard guard(condition);
    condition.wait([] { return !items.empty(); });
    std::printf("consumer %d took %s\n", id, items.front().c_str());
    items.pop_front();
}

void producer(weft::Condition& condition) {
    for (const char* item : {"a", "b"}) {
        weft::sleep(500ms);
        std::lock_guard guard(condition);
        items.push_back(item);
        condition.notify();
    }
}

int main() {
    weft::run([] {
        weft::Condition condition;
        weft::task_group([&](weft::TaskGroup& tg) {
            // eager: each consumer runs up to its wait before the next line, so that they stand in
            // line in this order on any number of workers.
            tg.create_task([&] { consumer(condition, 1); }, {.eager = true});
            tg.create_task([&] { consumer(condition, 2); }, {.eager = true});
            tg.create_task([&] { producer(condition); });
        });
    });
}
