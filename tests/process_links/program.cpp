#include <weft/process.hpp>

#include <cstdio>
#include <exception>
#include <map>

#include "library.hpp"

namespace {

volatile int two = 2;
const std::map<int, int> table = {{two, 21}};

}  // namespace

int main() {
    try {
        int answer = weft::to_process([](int key) { return table.at(key) * 2; }, 2);
        std::printf("program %d, library %d\n", answer, answer_of_library(21));
    } catch (const std::exception& error) {
        std::printf("%s\n", error.what());
        return 1;
    }
    return 0;
}
