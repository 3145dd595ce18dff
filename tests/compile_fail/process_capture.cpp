// expect: the function must be a lambda with [] or an empty function
#include <weft/process.hpp>

int main() {
    int base = 1;
    return weft::to_process([base](int x) { return base + x; }, 1);
}
