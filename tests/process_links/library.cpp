#include "library.hpp"

#include <weft/process.hpp>

#include <string>

namespace {

volatile int two = 2;
// Made by the library's static constructors, at run time.
const std::string text = std::to_string(two);

}  // namespace

int answer_of_library(int half) {
    return weft::to_process([](int x) { return x * std::stoi(text); }, half);
}
