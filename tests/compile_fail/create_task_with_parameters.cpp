// expect: Startable
#include <weft/weft.hpp>

int main() {
    weft::create_task([](int x) { return x; });
}
