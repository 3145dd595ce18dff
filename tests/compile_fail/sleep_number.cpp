// expect: weft::sleep needs a unit
#include <weft/weft.hpp>

int main() { weft::sleep(1); }
