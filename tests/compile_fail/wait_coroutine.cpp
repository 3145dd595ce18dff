// expect: weft::wait takes tasks or futures: give coroutines to create_task first
#include <weft/weft.hpp>

int main() {
    std::vector<weft::Coroutine<int>> jobs;
    weft::wait(jobs);
}
