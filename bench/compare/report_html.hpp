// The report for a browser: one page that needs nothing else, neither a network nor a script.
#pragma once

#include <string>

#include "study.hpp"

namespace weft_compare {

std::string html_of(const Study& study);

}  // namespace weft_compare
