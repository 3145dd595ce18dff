// expect: a value of this type cannot travel to another process
#include <weft/process.hpp>

int main() {
    return weft::to_process([](const char* text) { return static_cast<int>(text[0]); }, "text");
}
