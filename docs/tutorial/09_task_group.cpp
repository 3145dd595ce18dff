// A TaskGroup waits for all its tasks at the end of its block: 3 s.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

using namespace std::chrono_literals;

const auto fetch_data = weft::async("fetch_data", [](int id, std::chrono::seconds delay) {
    std::printf("coroutine %d starting to fetch data\n", id);
    weft::sleep(delay);
    return "sample data from coroutine " + std::to_string(id);
});

int main() {
    weft::run([] {
        std::vector<weft::Task<std::string>> tasks;
        weft::task_group([&](weft::TaskGroup& tg) {
            int id = 0;
            for (auto delay : {2s, 1s, 3s}) {
                tasks.push_back(tg.create_task(fetch_data(++id, delay)));
            }
        });
        for (const auto& task : tasks) {
            std::printf("received result: %s\n", task.result().c_str());
        }
    });
}
