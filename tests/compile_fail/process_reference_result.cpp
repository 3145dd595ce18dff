// expect: the function returns a reference
#include <weft/process.hpp>

int counter = 0;

int main() {
    return weft::to_process([]() -> int& { return counter; });
}
