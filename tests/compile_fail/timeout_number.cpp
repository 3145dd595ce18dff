// expect: weft::timeout needs a unit
#include <weft/weft.hpp>

int main() {
    weft::timeout(1, [] {});
}
