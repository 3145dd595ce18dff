// The study as JSON; see report_json.hpp. Seconds, bytes and milliseconds, as the names say.
#include "report_json.hpp"

#include <nlohmann/json.hpp>

#include "advice.hpp"

namespace weft_compare {
namespace {

using json = nlohmann::ordered_json;

json json_of_spread(const Spread& spread) {
    return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

json json_of_run(const Sample& run) {
    json lag;
    if (run.lag) {
        lag = {{"p99_ms", run.lag->p99_ms}, {"max_ms", run.lag->max_ms}, {"beats", run.lag->beats}};
    }
    return {{"wall_s", run.wall_s},
            {"cpu_s", run.cpu_s},
            {"peak_bytes", run.peak_bytes},
            {"lag", lag},
            {"checksum", run.checksum},
            {"words", run.words},
            {"distinct_words", run.distinct_words},
            {"unreadable", run.unreadable}};
}

std::string_view name_of(Ending ending) {
    switch (ending) {
        case Ending::done:
            return "done";
        case Ending::cannot:
            return "cannot";
        case Ending::failed:
            return "failed";
    }
    return {};
}

json json_of_row(const Row& row, const Section& section) {
    json result{{"model", row.model->key},
                {"label", row.label},
                {"family", name_of(row.model->family)},
                {"ending", name_of(row.ending)},
                {"why", row.why},
                {"agrees", row.good()},
                {"stderr", row.said}};
    if (row.runs.empty()) return result;
    result["wall_s"] = json_of_spread(row.wall_s());
    result["cpu_s"] = json_of_spread(row.cpu_s());
    result["peak_bytes"] = json_of_spread(row.peak_bytes());
    result["tasks_per_s"] = row.tasks_per_s(section.plan.tasks);
    result["lag_p99_ms"] = row.has_lag() ? json_of_spread(row.lag_p99_ms()) : json();
    result["lag_max_ms"] = row.has_lag() ? json(row.lag_max_ms()) : json();
    result["runs"] = json::array();
    for (const Sample& run : row.runs) result["runs"].push_back(json_of_run(run));
    return result;
}

json json_of_section(const Section& section, const std::vector<Section>& study) {
    json rows = json::array();
    for (const Row& row : section.rows) rows.push_back(json_of_row(row, section));
    const Choice choice = choose(section);
    return {{"workload", name_of(section.plan.workload)},
            {"headline", section.headline},
            {"tasks", section.plan.tasks},
            {"wait_ms", section.plan.wait_ms},
            {"cpu_ms", section.cpu_ms},
            {"hash_bytes", section.plan.hash_bytes},
            {"task_limit_ms", section.plan.task_limit_ms},
            {"buffer_bytes", section.plan.buffer_bytes},
            {"workers", section.plan.workers},
            {"pool", section.plan.pool},
            {"checksum", section.checksum},
            {"choice", choice.best != nullptr ? json(choice.best->model->key) : json()},
            {"advice", advice_on(section, study)},
            {"rows", std::move(rows)}};
}

json json_of_input(const Input& input) {
    json unreadable = json::array();
    for (const Unreadable& file : input.unreadable) {
        unreadable.push_back({{"path", file.path}, {"why", file.why}});
    }
    return {{"directory", input.directory.string()},
            {"files", input.files.size()},
            {"bytes", input.bytes()},
            {"unreadable_count", input.unreadable.size()},
            {"unreadable", std::move(unreadable)}};
}

}  // namespace

std::string json_of(const Study& study) {
    json sections = json::array();
    for (const Section& section : study.sections) {
        sections.push_back(json_of_section(section, study.sections));
    }
    const Machine& machine = study.machine;
    const json report{{"tool", "weft-compare"},
                      {"format", 1},
                      {"machine",
                       {{"cpu", machine.cpu},
                        {"cores", machine.cores},
                        {"memory_bytes", machine.memory_bytes},
                        {"kernel", machine.kernel},
                        {"compiler", machine.compiler},
                        {"python", machine.python ? json(*machine.python) : json()}}},
                      {"quick", study.options.quick},
                      {"repeat", study.options.repeat},
                      {"took_s", study.took_s},
                      {"cpu_share_of_others", study.elsewhere},
                      {"all_well", study.all_well()},
                      {"input", study.input.files.empty() ? json() : json_of_input(study.input)},
                      {"workloads", std::move(sections)}};
    return report.dump(2, ' ', false, json::error_handler_t::replace) + '\n';
}

}  // namespace weft_compare
