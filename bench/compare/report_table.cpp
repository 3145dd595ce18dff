// Laying out the tables; see report_table.hpp.
#include "report_table.hpp"

#include <algorithm>
#include <array>
#include <string>

#include <fmt/format.h>

#include "advice.hpp"
#include "format.hpp"

namespace weft_compare {
namespace {

struct Column {
    const char* title;
    std::size_t width;
};

constexpr std::size_t kLabelWidth = 28;
constexpr std::array<Column, 8> kColumns{{{"wall", 11},
                                          {"±", 8},
                                          {"× best", 9},
                                          {"CPU", 11},
                                          {"tasks/s", 11},
                                          {"memory", 11},
                                          {"lag p99", 11},
                                          {"lag max", 11}}};

// One figure of a row: its text, and the number by which the best is found (the smallest, above 0).
struct Cell {
    std::string text;
    double rank = 0;
};

using Cells = std::array<Cell, kColumns.size()>;

Cells cells_of(const Row& row, const Section& section, double best_wall_s) {
    const Spread wall = row.wall_s();
    const double rate = row.tasks_per_s(section.plan.tasks);
    const auto lag = [&](double ms) {
        return row.has_lag() ? Cell{duration_text(ms / 1e3), ms} : Cell{"-", 0};
    };
    return {{{duration_text(wall.median), wall.median},
             {row.runs.size() > 1 ? percent_text(wall.relative()) : "1 run", 0},
             {ratio_text(wall.median / best_wall_s), 0},
             {duration_text(row.cpu_s().median), row.cpu_s().median},
             {rate_text(rate), 1 / rate},
             {bytes_text(row.peak_bytes().median), row.peak_bytes().median},
             lag(row.lag_p99_ms().median),
             lag(row.lag_max_ms())}};
}

// Right-aligned by what a reader sees: a mark in colour has bytes that take no room.
std::string padded(const std::string& text, std::size_t width, bool best, Colour colour) {
    std::string plain = fmt::format("{:>{}}{}", text, width - 1, best ? "*" : " ");
    if (!best || colour == Colour::none) return plain;
    return "\033[1;32m" + plain + "\033[0m";
}

std::string dim(const std::string& text, Colour colour) {
    return colour == Colour::none ? text : "\033[2m" + text + "\033[0m";
}

std::string bold(const std::string& text, Colour colour) {
    return colour == Colour::none ? text : "\033[1m" + text + "\033[0m";
}

std::string rule() {
    std::size_t width = kLabelWidth;
    for (const Column& column : kColumns) width += column.width;
    std::string line;
    for (std::size_t i = 0; i < width; ++i) line += "─";
    return line + '\n';
}

std::string head_line() {
    std::string line = fmt::format("{:<{}}", "model", kLabelWidth);
    for (const Column& column : kColumns) {
        line += fmt::format("{:>{}} ", column.title, column.width - 1);
    }
    return line + '\n';
}

std::string why_line(const Row& row) {
    switch (row.ending) {
        case Ending::done:
            return row.why;
        case Ending::cannot:
            return "not run: " + row.why;
        case Ending::failed:
            return "FAILED: " + row.why;
    }
    return {};
}

std::string section_table(const Section& section, Colour colour) {
    double best_wall_s = 0;
    std::array<double, kColumns.size()> best{};
    for (const Row& row : section.rows) {
        if (!row.good()) continue;
        const double wall_s = row.wall_s().median;
        best_wall_s = best_wall_s > 0 ? std::min(best_wall_s, wall_s) : wall_s;
        const Cells cells = cells_of(row, section, wall_s);
        for (std::size_t i = 0; i < cells.size(); ++i) {
            const double rank = cells[i].rank;
            if (rank > 0 && (best[i] == 0 || rank < best[i])) best[i] = rank;
        }
    }
    std::string text =
        bold(fmt::format("{}: {}", name_of(section.plan.workload), section.headline), colour) +
        '\n' + dim(head_line() + rule(), colour);
    for (const Row& row : section.rows) {
        text += fmt::format("{:<{}}", row.label, kLabelWidth);
        if (!row.good()) {
            text += "  " + why_line(row) + '\n';
            continue;
        }
        const Cells cells = cells_of(row, section, best_wall_s);
        for (std::size_t i = 0; i < cells.size(); ++i) {
            const bool is_best = cells[i].rank > 0 && cells[i].rank == best[i];
            text += padded(cells[i].text, kColumns[i].width, is_best, colour);
        }
        text += '\n';
        if (row.runs.back().unreadable > 0) {
            text += fmt::format("{:<{}}  could not read {}: {} ...\n", "", kLabelWidth,
                                plural(row.runs.back().unreadable, "file"),
                                row.runs.back().unreadable_names.front());
        }
    }
    return text;
}

// Broken between words.
std::string wrapped(const std::string& text, std::size_t width) {
    std::string result;
    std::size_t column = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        const std::string word = text.substr(at, end - at);
        if (column > 0 && column + 1 + word.size() > width) {
            result += '\n';
            column = 0;
        } else if (column > 0) {
            result += ' ';
            ++column;
        }
        result += word;
        column += word.size();
        at = end + 1;
    }
    return result + '\n';
}

}  // namespace

std::string table_of(const Study& study, Colour colour) {
    constexpr std::size_t kTextWidth = 108;
    std::string text = "weft-compare on " + describe(study.machine) + "\n\n";
    for (const Section& section : study.sections) {
        text += section_table(section, colour) + '\n';
        text += wrapped(advice_on(section, study.sections), kTextWidth) + '\n';
    }
    text += wrapped(
        "* is the best of its column. Medians; ± is half the distance between the fastest and the "
        "slowest run. CPU and memory include child processes; lag is how late a 1 ms heartbeat was "
        "(a task of the event loop, else a thread). " +
            std::string(study.all_well() ? "All results agree." : "NOT all results agree."),
        kTextWidth);
    if (const std::string caution = study.caution(); !caution.empty()) {
        text += '\n' + wrapped(caution, kTextWidth);
    }
    return text;
}

}  // namespace weft_compare
