// One workload as a picture: an inline SVG with a line for each model and four panels beside each
// other.
//
// Wall time, CPU time and memory are bars on scales that begin at zero; the heartbeat's lag spans
// five powers of ten, so it is a dot (p99) with a whisker (the worst) on a logarithmic scale. Every
// mark carries its figure as text; colour says one thing only: the best of its panel. Colours are
// the page's CSS variables, so that the picture follows the reader's light or dark scheme.
#pragma once

#include <string>
#include <string_view>

#include "figures.hpp"

namespace weft_compare {

std::string chart_of(const Section& section);

std::string html_escaped(std::string_view text);

}  // namespace weft_compare
