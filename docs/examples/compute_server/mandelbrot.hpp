// A picture that takes as long as one likes.
#pragma once

#include <string>

namespace compute_server {

struct MandelbrotView {
    double x = -0.5;  ///< the centre
    double y = 0;
    double zoom = 1;  ///< 1: 3 units from the left edge to the right one
    int width = 480;
    int height = 320;
    int iterations = 256;
};

/// As a PNG. To be called within weft::to_arena: the rows are shared out among the arena's threads, and a cancel stops it
/// between two of them.
std::string mandelbrot_png(const MandelbrotView& view);

}  // namespace compute_server
