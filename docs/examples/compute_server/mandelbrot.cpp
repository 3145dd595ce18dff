#include "mandelbrot.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <png.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <tbb/task_group.h>

namespace compute_server {

namespace {

constexpr int kColours = 256;

/// The point's colour: 0 where it does not escape.
std::uint8_t colour_at(double cx, double cy, int iterations) {
    double x = 0;
    double y = 0;
    for (int i = 0; i < iterations; ++i) {
        double xx = x * x;
        double yy = y * y;
        if (xx + yy > 4) return static_cast<std::uint8_t>(1 + i % (kColours - 1));
        y = 2 * x * y + cy;
        x = xx - yy + cx;
    }
    return 0;
}

void compute_row(const MandelbrotView& view, int row, std::uint8_t* pixels) {
    double step = 3 / view.zoom / view.width;
    double cy = view.y - (row - view.height / 2.0) * step;
    for (int column = 0; column < view.width; ++column) {
        double cx = view.x + (column - view.width / 2.0) * step;
        pixels[column] = colour_at(cx, cy, view.iterations);
    }
}

struct Rgb {
    std::uint8_t red, green, blue;
};

std::array<Rgb, kColours> make_palette() {
    std::array<Rgb, kColours> palette{};
    for (int i = 1; i < kColours; ++i) {
        auto wave = [&](double phase) {
            return static_cast<std::uint8_t>(127.5 * (1 - std::cos(i * 0.1 + phase)));
        };
        palette[static_cast<std::size_t>(i)] = {wave(0.2), wave(0.7), wave(1.4)};
    }
    return palette;
}

std::string png_of(const std::vector<std::uint8_t>& pixels, const MandelbrotView& view) {
    static const std::array<Rgb, kColours> palette = make_palette();
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(view.width);
    image.height = static_cast<png_uint_32>(view.height);
    image.format = PNG_FORMAT_RGB_COLORMAP;
    image.colormap_entries = kColours;
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    std::string file(size, '\0');
    if (png_image_write_to_memory(&image, file.data(), &size, 0, pixels.data(), view.width,
                                  palette.data()) == 0)
        throw std::runtime_error(std::string("libpng: ") + image.message);
    file.resize(size);
    return file;
}

}  // namespace

std::string mandelbrot_png(const MandelbrotView& view) {
    auto width = static_cast<std::size_t>(view.width);
    std::vector<std::uint8_t> pixels(width * static_cast<std::size_t>(view.height));
    // One row a piece: a cancel, and other pictures, get their turn within milliseconds.
    tbb::parallel_for(
        tbb::blocked_range<int>(0, view.height, 1),
        [&](const tbb::blocked_range<int>& rows) {
            for (int row = rows.begin(); row != rows.end(); ++row)
                compute_row(view, row, pixels.data() + static_cast<std::size_t>(row) * width);
        },
        tbb::simple_partitioner());
    if (tbb::is_current_task_group_canceling()) return {};
    return png_of(pixels, view);
}

}  // namespace compute_server
