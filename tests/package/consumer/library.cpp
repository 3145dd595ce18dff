#include <weft/weft.hpp>

int sum_in_tasks(int n) {
    return weft::run([n] {
        int sum = 0;
        weft::task_group([&](weft::TaskGroup& group) {
            auto a = group.create_task([n] { return n; });
            auto b = group.create_task([] { return weft::to_process([] { return 40; }); });
            sum = weft::await(a) + weft::await(b);
        });
        return sum;
    });
}
