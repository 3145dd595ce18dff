// expect: weft::at_most needs coroutine objects or callables: a task or future runs already
#include <weft/weft.hpp>

int main() {
    std::vector<weft::Task<int>> tasks;
    weft::gather(weft::at_most(2), tasks);
}
