// The report for a terminal: a table for each workload, and the advice below it.
#pragma once

#include <string>

#include "study.hpp"

namespace weft_compare {

enum class Colour { none, ansi };

std::string table_of(const Study& study, Colour colour);

}  // namespace weft_compare
