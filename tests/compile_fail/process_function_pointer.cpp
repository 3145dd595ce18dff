// expect: Name the function at compile time
#include <weft/process.hpp>

int work(int x) { return x; }

int main() { return weft::to_process(work, 1); }
