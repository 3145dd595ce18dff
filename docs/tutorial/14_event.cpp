// An Event is a flag that can be awaited: 2 s.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>

using namespace std::chrono_literals;

void waiter(weft::Event& event) {
    std::puts("waiting for the event to be set");
    event.wait();
    std::puts("event has been set, continuing execution");
}

void setter(weft::Event& event) {
    weft::sleep(2s);
    event.set();
    std::puts("event has been set!");
}

int main() {
    weft::run([] {
        weft::Event event;
        weft::task_group([&](weft::TaskGroup& tg) {
            tg.create_task([&] { waiter(event); });
            tg.create_task([&] { setter(event); });
        });
    });
}
