// Numbers into text; see format.hpp.
#include "format.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include <fmt/format.h>

namespace weft_compare {
namespace {

// Three significant digits without an exponent.
std::string three_digits(double value) {
    const double size = std::abs(value);
    if (size >= 99.95 || size == 0) return fmt::format("{:.0f}", value);
    if (size >= 9.995) return fmt::format("{:.1f}", value);
    return fmt::format("{:.2f}", value);
}

}  // namespace

std::string duration_text(double seconds) {
    // The bounds are where rounding would show 1000 of the smaller unit.
    if (seconds < 0.9995e-3) return fmt::format("{:.0f} µs", seconds * 1e6);
    if (seconds < 0.9995) return three_digits(seconds * 1e3) + " ms";
    if (seconds < 119.5) return three_digits(seconds) + " s";
    const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
    if (whole < 2 * 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
    return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string exact_duration_text(double seconds) {
    return seconds < 1 ? fmt::format("{:g} ms", seconds * 1e3) : fmt::format("{:g} s", seconds);
}

std::string bytes_text(double bytes) {
    constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    while (bytes >= 999.5 && unit + 1 < kUnits.size()) {
        bytes /= 1024;
        ++unit;
    }
    return three_digits(bytes) + ' ' + kUnits[unit];
}

std::string count_text(std::uint64_t count) {
    std::string text = std::to_string(count);
    for (std::size_t at = text.size(); at > 3;) {
        at -= 3;
        text.insert(at, 1, ',');
    }
    return text;
}

std::string rate_text(double per_second) {
    if (per_second < 99.95) return three_digits(per_second);
    const double step = std::pow(10, std::floor(std::log10(per_second)) - 2);
    return count_text(static_cast<std::uint64_t>(std::round(per_second / step) * step));
}

std::string ratio_text(double ratio) { return three_digits(ratio) + "×"; }

std::string percent_text(double fraction) { return fmt::format("{:.0f} %", fraction * 100); }

std::string plural(std::uint64_t count, std::string_view noun) {
    return fmt::format("{} {}{}", count_text(count), noun, count == 1 ? "" : "s");
}

std::string signal_text(int signal) {
    const char* const name = ::sigdescr_np(signal);
    return name != nullptr ? name : fmt::format("signal {}", signal);
}

std::string tick_text(double value) {
    if (value >= 1000) return fmt::format("{:g}k", value / 1000);
    return fmt::format("{:g}", value);
}

}  // namespace weft_compare
