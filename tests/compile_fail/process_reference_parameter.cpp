// expect: its parameters are values or const references
#include <weft/process.hpp>

int main() {
    int count = 0;
    weft::to_process([](int& shared) { ++shared; }, count);
    return count;
}
