// Drawing the SVG; see chart.hpp.
#include "chart.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "advice.hpp"
#include "format.hpp"

namespace weft_compare {
namespace {

// All in CSS pixels of the SVG's own coordinates.
constexpr double kLabelWidth = 196;
constexpr double kPanelWidth = 208;
constexpr double kPanelGap = 26;
constexpr double kRowHeight = 24;
constexpr double kBarHeight = 12;
constexpr double kTop = 34;       // room for the panels' titles
constexpr double kBottom = 26;    // room for the axes' figures
constexpr double kFamilyGap = 8;  // between rows of different families
// A bar's figure stands behind its end, so that the longest bar must leave room for it.
constexpr double kScaleWidth = kPanelWidth - 66;
constexpr int kPanels = 4;
constexpr double kWidth = kLabelWidth + kPanels * kPanelWidth + (kPanels - 1) * kPanelGap + 4;

double panel_left(int panel) { return kLabelWidth + panel * (kPanelWidth + kPanelGap); }

std::string text_at(double x, double y, std::string_view classes, std::string_view text) {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\">{}</text>\n", x, y, classes,
                       html_escaped(text));
}

std::string line_at(double x1, double y1, double x2, double y2, std::string_view classes) {
    return fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1, y1,
        x2, y2, classes);
}

// Where each row's middle is, and where the drawing ends below.
struct Layout {
    std::vector<double> middle;
    double floor = 0;
    std::vector<double> dividers;
};

Layout layout_of(const Section& section) {
    Layout layout;
    double y = kTop;
    const Row* above = nullptr;
    for (const Row& row : section.rows) {
        if (above != nullptr && above->model->family != row.model->family) {
            layout.dividers.push_back(y + kFamilyGap / 2);
            y += kFamilyGap;
        }
        layout.middle.push_back(y + kRowHeight / 2);
        y += kRowHeight;
        above = &row;
    }
    layout.floor = y + 2;
    return layout;
}

// The largest step of 1, 2 or 5 times a power of ten that still gives two ticks or more behind the zero.
double tick_step(double max) {
    const double power = std::pow(10, std::floor(std::log10(max)));
    for (const double step : {5.0, 2.0, 1.0, 0.5, 0.2}) {
        if (max / (step * power) >= 2) return step * power;
    }
    return power / 10;
}

struct Figure {
    double value = 0;
    double low = 0;
    double high = 0;
    std::string text;
};

// A panel of bars: what it shows, and in which unit its axis counts.
struct Bars {
    std::string title;
    double unit = 1;
    std::function<Figure(const Row&)> figure;
};

std::vector<const Row*> good_rows(const Section& section) {
    std::vector<const Row*> rows;
    for (const Row& row : section.rows) {
        if (row.good()) rows.push_back(&row);
    }
    return rows;
}

std::string linear_axis(int panel, double max, double unit, const Layout& layout) {
    std::string svg;
    const double step = tick_step(max / unit);
    for (double tick = 0; tick <= max / unit * 1.001; tick += step) {
        const double x = panel_left(panel) + tick * unit / max * kScaleWidth;
        svg += line_at(x, kTop, x, layout.floor, tick == 0 ? "axis" : "grid");
        svg += text_at(x, layout.floor + 15, "tick", tick_text(tick));
    }
    return svg;
}

std::string one_bar(int panel, double y, const Figure& figure, double max, bool best,
                    const std::string& label) {
    const double left = panel_left(panel);
    const auto width = [&](double value) { return value / max * kScaleWidth; };
    std::string svg = fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.0f}\" rx=\"1.5\" "
        "class=\"{}\"><title>{}</title></rect>\n",
        left, y - kBarHeight / 2, std::max(1.0, width(figure.value)), kBarHeight,
        best ? "bar best" : "bar", html_escaped(label + ": " + figure.text));
    // Below two pixels it would only look like dirt.
    const bool spread = width(figure.high) - width(figure.low) > 2;
    if (spread) {
        svg += line_at(left + width(figure.low), y, left + width(figure.high), y, "whisker");
    }
    const double end = left + std::max(width(figure.value), spread ? width(figure.high) : 0);
    return svg + text_at(end + 5, y + 4, best ? "value best" : "value", figure.text);
}

std::string bar_panel(int panel, const Section& section, const Bars& bars, const Layout& layout) {
    double max = 0;
    const Row* best = nullptr;
    for (const Row* row : good_rows(section)) {
        const Figure figure = bars.figure(*row);
        max = std::max(max, figure.high);
        if (best == nullptr || figure.value < bars.figure(*best).value) best = row;
    }
    std::string svg = text_at(panel_left(panel), 16, "title", bars.title);
    if (best == nullptr || max <= 0) return svg;
    svg += linear_axis(panel, max, bars.unit, layout);
    for (std::size_t i = 0; i < section.rows.size(); ++i) {
        const Row& row = section.rows[i];
        if (!row.good()) continue;
        svg += one_bar(panel, layout.middle[i], bars.figure(row), max, &row == best, row.label);
    }
    return svg;
}

// The lag's logarithmic scale, in milliseconds.
struct LogScale {
    int first = -2;  // powers of ten
    int last = 1;

    double x(double ms) const {
        const double at = std::clamp(std::log10(std::max(ms, 1e-6)), first * 1.0, last * 1.0);
        return panel_left(kPanels - 1) + (at - first) / (last - first) * kScaleWidth;
    }
};

std::string log_axis(const LogScale& scale, const Layout& layout) {
    std::string svg;
    for (int power = scale.first; power <= scale.last; ++power) {
        const double x = scale.x(std::pow(10, power));
        svg += line_at(x, kTop, x, layout.floor, power == scale.first ? "axis" : "grid");
        // Every other figure where the powers stand close together.
        if ((power - scale.first) % (scale.last - scale.first > 3 ? 2 : 1) != 0) continue;
        const double seconds = std::pow(10, power - 3);
        const std::string text = seconds < 0.9e-3 ? fmt::format("{:g} µs", seconds * 1e6)
                                 : seconds < 0.9  ? fmt::format("{:g} ms", seconds * 1e3)
                                                  : fmt::format("{:g} s", seconds);
        svg += text_at(x, layout.floor + 15, "tick", text);
    }
    return svg;
}

std::string lag_panel(const Section& section, const Layout& layout) {
    LogScale scale;
    const Row* best = nullptr;
    for (const Row* row : good_rows(section)) {
        if (!row->has_lag()) continue;
        const double max_ms = std::max(row->lag_max_ms(), 1e-3);
        scale.last = std::max(scale.last, static_cast<int>(std::ceil(std::log10(max_ms))));
        const double p99_ms = row->lag_p99_ms().median;
        if (best == nullptr || p99_ms < best->lag_p99_ms().median) best = row;
    }
    std::string svg =
        text_at(panel_left(kPanels - 1), 16, "title", "heartbeat late (p99, log scale)");
    if (best == nullptr) return svg;
    svg += log_axis(scale, layout);
    for (std::size_t i = 0; i < section.rows.size(); ++i) {
        const Row& row = section.rows[i];
        if (!row.good() || !row.has_lag()) continue;
        const double y = layout.middle[i];
        const double p99_ms = row.lag_p99_ms().median;
        const double x = scale.x(p99_ms);
        const double worst = scale.x(row.lag_max_ms());
        const std::string text = duration_text(p99_ms / 1e3);
        svg += line_at(x, y, worst, y, "whisker");
        svg += fmt::format(
            "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\" "
            "class=\"{}\"><title>{}</title></circle>\n",
            x, y, &row == best ? "dot best" : "dot",
            html_escaped(fmt::format("{}: p99 {}, worst {}", row.label, text,
                                     duration_text(row.lag_max_ms() / 1e3))));
        svg +=
            text_at(std::max(x + 5, worst) + 5, y + 4, &row == best ? "value best" : "value", text);
    }
    return svg;
}

std::string labels(const Section& section, const Layout& layout) {
    const Row* chosen = choose(section).best;
    std::string svg;
    for (const double y : layout.dividers) svg += line_at(0, y, kWidth, y, "divider");
    for (std::size_t i = 0; i < section.rows.size(); ++i) {
        const Row& row = section.rows[i];
        const double y = layout.middle[i] + 4;
        svg += text_at(kLabelWidth - 10, y, &row == chosen ? "label best" : "label", row.label);
        if (row.good()) continue;
        const std::string why = row.ending == Ending::cannot   ? "not run: " + row.why
                                : row.ending == Ending::failed ? "failed: " + row.why
                                                               : row.why;
        svg += text_at(panel_left(0) + 4, y, "why", why);
    }
    return svg;
}

Figure seconds_of(const Spread& spread) {
    return {spread.median, spread.min, spread.max, duration_text(spread.median)};
}

double largest(const Section& section, Spread (Row::*figure)() const) {
    double max = 0;
    for (const Row* row : good_rows(section)) max = std::max(max, (row->*figure)().max);
    return max;
}

Bars seconds_panel(const Section& section, const std::string& what, Spread (Row::*figure)() const) {
    const bool in_seconds = largest(section, figure) >= 1;
    return {fmt::format("{} ({})", what, in_seconds ? "s" : "ms"), in_seconds ? 1 : 1e-3,
            [figure](const Row& row) { return seconds_of((row.*figure)()); }};
}

Bars memory_panel() {
    return {"peak memory (MiB)", 1024.0 * 1024, [](const Row& row) {
                const Spread spread = row.peak_bytes();
                return Figure{spread.median, spread.min, spread.max, bytes_text(spread.median)};
            }};
}

}  // namespace

std::string html_escaped(std::string_view text) {
    std::string safe;
    for (const char c : text) {
        switch (c) {
            case '&':
                safe += "&amp;";
                break;
            case '<':
                safe += "&lt;";
                break;
            case '>':
                safe += "&gt;";
                break;
            case '"':
                safe += "&quot;";
                break;
            case '\'':
                safe += "&#39;";
                break;
            default:
                safe += c;
        }
    }
    return safe;
}

std::string chart_of(const Section& section) {
    const Layout layout = layout_of(section);
    return fmt::format(
               "<svg viewBox=\"0 0 {:.0f} {:.0f}\" width=\"{:.0f}\" role=\"img\" "
               "aria-label=\"Wall time, CPU time, memory and heartbeat lag of each model; the same "
               "figures are in the table below\">\n",
               kWidth, layout.floor + kBottom, kWidth) +
           bar_panel(0, section, seconds_panel(section, "wall time", &Row::wall_s), layout) +
           bar_panel(1, section, seconds_panel(section, "CPU time", &Row::cpu_s), layout) +
           bar_panel(2, section, memory_panel(), layout) + lag_panel(section, layout) +
           labels(section, layout) + "</svg>\n";
}

}  // namespace weft_compare
