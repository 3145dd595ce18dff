// The report for programs: every figure of every run.
#pragma once

#include <string>

#include "study.hpp"

namespace weft_compare {

std::string json_of(const Study& study);

}  // namespace weft_compare
