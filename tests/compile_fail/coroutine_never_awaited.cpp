// expect: nodiscard
#include <weft/weft.hpp>

int main() {
    weft::coroutine([] { return 1; });
}
