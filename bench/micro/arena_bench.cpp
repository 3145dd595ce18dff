// What does to_arena cost a parallel loop?
//
// W12: the Mandelbrot set by rows, 600 by 600 points, 500 steps at most; an operation is the whole picture. The loop is
// oneTBB's both times: entered by the thread that wants it, and by to_arena.
#include <vector>

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include "arena.hpp"

namespace {

constexpr int kSide = 600;
constexpr int kSteps = 500;

int steps_at(double x, double y) {
    double re = 0;
    double im = 0;
    int n = 0;
    for (; n < kSteps && re * re + im * im <= 4; ++n) {
        double next = re * re - im * im + x;
        im = 2 * re * im + y;
        re = next;
    }
    return n;
}

long row(int at) {
    long sum = 0;
    for (int i = 0; i < kSide; ++i)
        sum += steps_at(-2.0 + 2.5 * i / kSide, -1.25 + 2.5 * at / kSide);
    return sum;
}

long picture() {
    std::vector<long> rows(kSide);
    tbb::parallel_for(tbb::blocked_range<int>(0, kSide, 1),
                      [&](const tbb::blocked_range<int>& range) {
                          for (int at = range.begin(); at != range.end(); ++at)
                              rows[static_cast<std::size_t>(at)] = row(at);
                      });
    long sum = 0;
    for (long one : rows) sum += one;
    return sum;
}

const long kPicture = picture();

void plain(benchmark::State& state) {
    micro::time_in_tbb(state, 1, [] { micro::require(picture() == kPicture, "the picture"); });
}
BENCHMARK(plain)->Name("arena/mandelbrot_tbb")->Apply(micro::on_workers);

void to_arena(benchmark::State& state) {
    const unsigned cores = micro::workers_of(state);
    weft::run(
        [&] {
            micro::time_rounds(state, 1, [] {
                micro::require(weft::to_arena(picture) == kPicture, "the picture");
            });
        },
        {.workers = 1, .cores = cores});
}
BENCHMARK(to_arena)->Name("arena/mandelbrot_to_arena")->Apply(micro::on_workers);

}  // namespace
