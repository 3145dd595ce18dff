// expect: a value of this type cannot travel to another process
#include <weft/process.hpp>

struct Slice {
    int length;
    const char* text;
};

int main() {
    return weft::to_process([](Slice slice) { return slice.length; }, Slice{1, "x"});
}
