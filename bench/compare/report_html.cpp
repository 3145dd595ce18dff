// Writing the page; see report_html.hpp. The charts are drawn in chart.cpp.
#include "report_html.hpp"

#include <algorithm>
#include <iterator>
#include <string>

#include <fmt/format.h>

#include "advice.hpp"
#include "chart.hpp"
#include "format.hpp"

namespace weft_compare {
namespace {

constexpr const char* kStyle = R"css(
:root { color-scheme: light dark;
  --page: #fff; --text: #1b1f24; --muted: #57606a; --grid: #e4e7eb; --axis: #8b949e;
  --bar: #b3bcc6; --best: #0b6fa4; --whisker: #57606a; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14181d; --text: #e6e9ed; --muted: #9aa5b1; --grid: #2a3037; --axis: #66707b;
  --bar: #56606b; --best: #58b8ee; --whisker: #b4bec9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 1180px; background: var(--page);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .1rem; }
p { max-width: 75ch; margin: .4rem 0; }
.muted { color: var(--muted); font-size: .9rem; max-width: none; }
a { color: var(--best); }
.caution { border-left: 3px solid var(--axis); padding-left: .8rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
svg { display: block; font-size: 12px; }
svg text { fill: var(--text); }
svg .title { font-weight: 600; }
svg .label { text-anchor: end; }
svg .tick { text-anchor: middle; fill: var(--muted); font-size: 11px; }
svg .why { fill: var(--muted); font-style: italic; }
/* A halo of the page's colour keeps figures legible where they cross a line. */
svg .why, svg .value { paint-order: stroke; stroke: var(--page); stroke-width: 4px; }
svg .bar, svg .dot { fill: var(--bar); }
svg .dot { stroke: var(--page); }
svg rect.best, svg circle.best, svg text.best { fill: var(--best); }
svg text.best { font-weight: 600; }
svg .whisker { stroke: var(--whisker); stroke-width: 1.5; }
svg .grid, svg .divider { stroke: var(--grid); }
svg .axis { stroke: var(--axis); }
table { border-collapse: collapse; font-size: .9rem; white-space: nowrap; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid var(--grid); }
th { color: var(--muted); font-weight: 600; }
th:first-child, td:first-child, td.why, .verdicts :nth-child(2) { text-align: left; }
td.why { color: var(--muted); font-style: italic; white-space: normal; }
td.best { color: var(--best); font-weight: 600; }
)css";

// A column of the table: its head, its text, and what is compared (the smallest, above 0, is the
// best).
struct Column {
    const char* head;
    std::string (*text)(const Row&, const Section&);
    double (*rank)(const Row&);
};

constexpr double unranked(const Row&) { return 0; }

const Column kColumns[] = {
    {"wall time", [](const Row& row, const Section&) { return duration_text(row.wall_s().median); },
     [](const Row& row) { return row.wall_s().median; }},
    {"spread",
     [](const Row& row, const Section&) {
         const Spread wall = row.wall_s();
         if (row.runs.size() == 1) return std::string("1 run");
         return duration_text(wall.min) + " – " + duration_text(wall.max);
     },
     &unranked},
    {"CPU time", [](const Row& row, const Section&) { return duration_text(row.cpu_s().median); },
     [](const Row& row) { return row.cpu_s().median; }},
    {"tasks/s",
     [](const Row& row, const Section& section) {
         return rate_text(row.tasks_per_s(section.plan.tasks));
     },
     [](const Row& row) { return row.wall_s().median; }},
    {"peak memory",
     [](const Row& row, const Section&) { return bytes_text(row.peak_bytes().median); },
     [](const Row& row) { return row.peak_bytes().median; }},
    {"lag p99",
     [](const Row& row, const Section&) {
         return row.has_lag() ? duration_text(row.lag_p99_ms().median / 1e3) : std::string("–");
     },
     [](const Row& row) { return row.has_lag() ? row.lag_p99_ms().median : 0; }},
    {"lag, worst",
     [](const Row& row, const Section&) {
         return row.has_lag() ? duration_text(row.lag_max_ms() / 1e3) : std::string("–");
     },
     [](const Row& row) { return row.has_lag() ? row.lag_max_ms() : 0; }},
};

double best_of(const Column& column, const Section& section) {
    double best = 0;
    for (const Row& row : section.rows) {
        const double rank = row.good() ? column.rank(row) : 0;
        if (rank > 0 && (best == 0 || rank < best)) best = rank;
    }
    return best;
}

std::string table_row(const Row& row, const Section& section) {
    std::string html = "<tr><td>" + html_escaped(row.label) + "</td>";
    if (!row.good()) {
        const char* const how = row.ending == Ending::cannot   ? "not run: "
                                : row.ending == Ending::failed ? "failed: "
                                                               : "";
        return html + fmt::format("<td class=\"why\" colspan=\"{}\">{}{}</td></tr>\n",
                                  std::size(kColumns), how, html_escaped(row.why));
    }
    for (const Column& column : kColumns) {
        const double rank = column.rank(row);
        const bool best = rank > 0 && rank == best_of(column, section);
        html += fmt::format("<td{}>{}</td>", best ? " class=\"best\"" : "",
                            html_escaped(column.text(row, section)));
    }
    return html + "</tr>\n";
}

std::string table_of_section(const Section& section) {
    std::string html = "<div class=\"scroll\"><table><thead><tr><th>model</th>";
    for (const Column& column : kColumns) html += fmt::format("<th>{}</th>", column.head);
    html += "</tr></thead><tbody>\n";
    for (const Row& row : section.rows) html += table_row(row, section);
    return html + "</tbody></table></div>\n";
}

std::string verdicts(const Study& study) {
    std::string html =
        "<div class=\"scroll\"><table "
        "class=\"verdicts\"><thead><tr><th>workload</th><th>take</th><th>wall time</th>"
        "<th>CPU time</th><th>peak memory</th><th>heartbeat late (p99)</th></tr></thead><tbody>\n";
    for (const Section& section : study.sections) {
        const Row* best = choose(section).best;
        if (best == nullptr) continue;
        html += fmt::format(
            "<tr><td><a href=\"#{0}\">{0}</a></td><td class=\"best\">{1}</td><td>{2}</td>"
            "<td>{3}</td><td>{4}</td><td>{5}</td></tr>\n",
            name_of(section.plan.workload), html_escaped(best->label),
            duration_text(best->wall_s().median), duration_text(best->cpu_s().median),
            bytes_text(best->peak_bytes().median),
            best->has_lag() ? duration_text(best->lag_p99_ms().median / 1e3) : "–");
    }
    return html + "</tbody></table></div>\n";
}

std::string method(const Study& study) {
    std::string html =
        "<h2>How it was measured</h2>\n<p>Each model runs in a process of its own, so that CPU "
        "time "
        "and peak memory are its own; child processes are counted in. Wall time begins before the "
        "runtime, the threads or the processes are started and ends with the last result; starting "
        "an interpreter is not counted. Peak memory is resident memory; of a tree of processes, "
        "the "
        "largest sum of proportional shares that was seen (40 looks a second). The kernel's own "
        "part "
        "of a thread is not in it, which flatters models with many threads. The heartbeat should "
        "run "
        "every millisecond and keeps to a fixed timetable: in an event loop it is one of its "
        "tasks, "
        "elsewhere a thread; a sequential program has none. All files were read once before, so "
        "they come from memory.</p>\n";
    html += fmt::format(
        "<p>Bars are medians of up to {}, thin lines reach from the fastest to the slowest; a "
        "model "
        "that took long was run less often. Blue is the best of its panel or column. {} The whole "
        "took {}.</p>\n",
        plural(study.options.repeat, "run"),
        study.all_well() ? "The results of all models agree."
                         : "Not all models gave the same result: see their rows.",
        duration_text(study.took_s));
    if (!study.input.unreadable.empty()) {
        html += fmt::format("<p>Left out because unreadable: {}, the first is {} ({}).</p>\n",
                            plural(study.input.unreadable.size(), "file"),
                            html_escaped(study.input.unreadable.front().path),
                            html_escaped(study.input.unreadable.front().why));
    }
    return html;
}

}  // namespace

std::string html_of(const Study& study) {
    std::string html = fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<title>weft-compare: asyncio, threads or processes?</title>\n<style>{}</style>\n</head>\n"
        "<body>\n<h1>asyncio, threads or processes?</h1>\n<p class=\"muted\">weft-compare on "
        "{}</p>\n",
        kStyle, html_escaped(describe(study.machine)));
    if (const std::string caution = study.caution(); !caution.empty()) {
        html += "<p class=\"caution\">" + html_escaped(caution) + "</p>\n";
    }
    html += verdicts(study);
    for (const Section& section : study.sections) {
        html += fmt::format(
            "<h2 id=\"{0}\">{0}</h2>\n<p class=\"muted\">{1}</p>\n<p>{2}</p>\n"
            "<div class=\"scroll\">{3}</div>\n{4}",
            name_of(section.plan.workload), html_escaped(section.headline),
            html_escaped(advice_on(section, study.sections)), chart_of(section),
            table_of_section(section));
    }
    return html + method(study) + "</body>\n</html>\n";
}

}  // namespace weft_compare
