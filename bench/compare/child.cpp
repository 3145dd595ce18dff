// The inside of a model's own process; see child.hpp.
#include "child.hpp"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <new>
#include <optional>
#include <string>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "child_process.hpp"
#include "models.hpp"
#include "python.hpp"

namespace weft_compare {
namespace {

using nlohmann::json;

constexpr std::size_t kNamesReported = 5;

Plan load_plan(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    if (!file) throw std::runtime_error("the plan cannot be read");
    return decode(text);
}

json report_of(Run& run) {
    std::uint64_t checksum = run.words.checksum();
    std::size_t unreadable = 0;
    json names = json::array();
    for (std::size_t task = 0; task < run.results.size(); ++task) {
        checksum += run.results[task].value;
        if (run.results[task].readable) continue;
        if (++unreadable <= kNamesReported) names.push_back(run.plan.path_of(task));
    }
    json lag;
    if (const std::optional<Lag> summary = run.lag.summary()) {
        lag = {{"p99_ms", summary->p99_ms}, {"max_ms", summary->max_ms}, {"beats", summary->beats}};
    }
    return {{"wall_s", run.stopwatch.wall_s()},
            {"cpu_s", run.stopwatch.cpu_s() + cpu_seconds_children()},
            {"peak_bytes", run.stopwatch.peak_bytes()},
            {"checksum", fmt::format("{:016x}", checksum)},
            {"words", run.words.total()},
            {"distinct_words", run.words.distinct()},
            {"unreadable", unreadable},
            {"unreadable_names", std::move(names)},
            {"lag", std::move(lag)}};
}

// "There is no more of it here" is an answer about the size; anything else is a failure.
bool is_shortage(const std::system_error& error) {
    return error.code() == std::errc::resource_unavailable_try_again ||
           error.code() == std::errc::not_enough_memory ||
           error.code() == std::errc::too_many_files_open ||
           error.code() == std::errc::address_not_available;
}

json run_model(const Model& model, const Plan& plan) {
    try {
        Run run(plan);
        model.run(run);
        run.stopwatch.stop();
        return report_of(run);
    } catch (const CannotRun& error) {
        return {{"cannot", error.what()}};
    } catch (const std::bad_alloc&) {
        return {{"cannot", "out of memory"}};
    } catch (const std::system_error& error) {
        return {{is_shortage(error) ? "cannot" : "failed", error.what()}};
    } catch (const std::exception& error) {
        return {{"failed", error.what()}};
    }
}

}  // namespace

int run_child(std::string_view model_key, std::string_view plan_fd, std::string_view supervisor) {
    if (!end_with_supervisor(supervisor)) return 1;  // for a Python model it outlives the exec
    const Model* const model = find_model(model_key);
    if (model == nullptr) return 2;
    const std::string path = fmt::format("/proc/self/fd/{}", plan_fd);
    if (model->run == nullptr) return exec_python(model->key, path);
    const json report = run_model(*model, load_plan(path));
    fmt::print("{}\n", report.dump(-1, ' ', false, json::error_handler_t::replace));
    return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace weft_compare
