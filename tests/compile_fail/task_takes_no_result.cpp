// expect: set_result
#include <weft/weft.hpp>

int main() {
    weft::Task<int> task;
    task.set_result(1);
}
