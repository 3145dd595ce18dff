// Figures as people read them: three significant digits, the fitting unit, thousands apart.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weft_compare {

std::string duration_text(double seconds);        // 850 µs, 12.3 ms, 1.24 s, 3 min 20 s
std::string exact_duration_text(double seconds);  // what was asked for, as it was: 10 ms, 2.5 s
std::string bytes_text(double bytes);             // 12.3 MiB
std::string count_text(std::uint64_t count);      // 10,000
std::string rate_text(double per_second);         // 323,000
std::string ratio_text(double ratio);             // 1.04×, 13×
std::string percent_text(double fraction);        // 4 %
std::string plural(std::uint64_t count, std::string_view noun);  // 1 file, 2 files

std::string signal_text(int signal);  // Segmentation fault

// A compact number for an axis's tick: 0, 0.5, 20, 1k.
std::string tick_text(double value);

}  // namespace weft_compare
