// Parsing and checking the command line; see options.hpp.
#include "options.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "machine.hpp"

namespace weft_compare {
namespace {

constexpr const char* kIntro =
    "asyncio, threads or processes? Runs real work on this machine under each model and compares\n"
    "time, CPU time, memory and how late a 1 ms heartbeat is.\n";

constexpr const char* kWorkloadsHelp =
    "Workloads:\n"
    "  wait       many waits at once: what a server does most of the time\n"
    "  network    many clients of a server on this machine that takes its time\n"
    "  shared     reads every file of --input and counts its words into one shared table\n"
    "  cpu        SHA-256 of those files, some ms a task\n"
    "  mixed      wait, then CPU, then wait: a compute server's request\n"
    "  runaway    cpu with a time limit for each task, which one in fifty runs into: it never "
    "ends\n"
    "  buffer     recodes 4 MiB that its caller has, and wants back\n";

std::string footer() {
    std::string text = kWorkloadsHelp;
    text += "\nModels (or a family: weft, classic, python):\n";
    for (const Model& model : models()) {
        text += fmt::format("  {:<19} {}\n", model.key, model.blurb);
    }
    return text +
           "\nExit status: 0 done; 1 a model failed or differs, or a report could not be "
           "written; 2 bad options.\n";
}

std::string workload_names() {
    std::vector<std::string_view> names;
    for (const Workload workload : kWorkloads) names.push_back(name_of(workload));
    return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<Workload> chosen_workloads(const std::vector<std::string>& names) {
    std::vector<Workload> chosen;
    for (const Workload workload : kWorkloads) {
        const bool wanted = names.empty() || std::count(names.begin(), names.end(), "all") > 0 ||
                            std::count(names.begin(), names.end(), name_of(workload)) > 0;
        if (wanted) chosen.push_back(workload);
    }
    for (const std::string& name : names) {
        const auto same = [&](Workload workload) { return name_of(workload) == name; };
        if (name != "all" && std::none_of(kWorkloads.begin(), kWorkloads.end(), same)) {
            throw BadOptions(fmt::format("--workload: there is no '{}'; there are {}, all", name,
                                         workload_names()));
        }
    }
    return chosen;
}

std::vector<const Model*> chosen_models(const std::vector<std::string>& names) {
    const auto names_it = [](const std::string& name, const Model& model) {
        return name == "all" || name == model.key || name == name_of(model.family);
    };
    std::vector<const Model*> chosen;
    for (const Model& model : models()) {
        const bool wanted = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
            return names_it(name, model);
        });
        if (names.empty() || wanted) chosen.push_back(&model);
    }
    for (const std::string& name : names) {
        const bool known = std::any_of(models().begin(), models().end(),
                                       [&](const Model& model) { return names_it(name, model); });
        if (known) continue;
        std::vector<std::string_view> keys;
        for (const Model& model : models()) keys.push_back(model.key);
        throw BadOptions(
            fmt::format("--models: there is no '{}'; there are {}, weft, classic, "
                        "python, all",
                        name, fmt::join(keys, ", ")));
    }
    return chosen;
}

// Minutes of measuring should not end in a file that could never be written.
void check_writable(const char* option, const std::string& path) {
    if (path.empty()) return;
    std::FILE* const file = std::fopen(path.c_str(), "ae");
    if (file == nullptr) {
        throw BadOptions(fmt::format("{}: {} cannot be written: {}", option, path,
                                     std::generic_category().message(errno)));
    }
    std::fclose(file);
}

void check_input(const Options& options) {
    namespace fs = std::filesystem;
    std::error_code error;
    const fs::file_status status = fs::status(options.input, error);
    if (!fs::exists(status)) {
        throw BadOptions(fmt::format("--input: there is no directory {}", options.input.string()));
    }
    if (!fs::is_directory(status)) {
        throw BadOptions(fmt::format("--input: {} is not a directory", options.input.string()));
    }
}

// One line, whatever CLI11 has to say.
std::string one_line(std::string text) {
    text.resize(std::min(text.size(), text.find('\n')));
    return text;
}

struct Names {
    std::vector<std::string> workloads;
    std::vector<std::string> models;
};

void declare(CLI::App& app, Options& options, Names& names) {
    app.add_option("--workload", names.workloads, workload_names() + " or all")
        ->delimiter(',')
        ->type_name("NAME,NAME");
    app.add_option("--models", names.models, "what to compare; all by default")
        ->delimiter(',')
        ->type_name("NAME,NAME");
    app.add_option(
           "--tasks", options.tasks,
           "tasks of each workload (10,000 waits, 2,000 clients, every file, 200, 250, 200, 100)")
        ->check(CLI::Range(1, 10'000'000))
        ->type_name("N");
    app.add_option("--wait", options.wait_ms,
                   "length of one wait (20 in wait and network, 10 in mixed)")
        ->check(CLI::Range(0.0, 60'000.0))
        ->type_name("MS");
    app.add_option("--cpu", options.cpu_ms,
                   "CPU time of one task (5 in cpu and runaway, 2 in mixed)")
        ->check(CLI::Range(0.01, 60'000.0))
        ->type_name("MS");
    app.add_option("--task-limit", options.task_limit_ms,
                   "in runaway: how long a task may run before it is stopped")
        ->check(CLI::Range(1.0, 60'000.0))
        ->capture_default_str()
        ->type_name("MS");
    app.add_option("--buffer", options.buffer_mib, "in buffer: what one task recodes")
        ->check(CLI::Range(1, 512))
        ->capture_default_str()
        ->type_name("MIB");
    app.add_option("--input", options.input, "directory of the files that are read")
        ->capture_default_str()
        ->type_name("DIR");
    app.add_option("--workers", options.workers, "cores that a model may use")
        ->check(CLI::Range(1, 1024))
        ->capture_default_str()
        ->type_name("N");
    app.add_option("--repeat", options.repeat, "runs of each model; medians are shown")
        ->check(CLI::Range(1, 1000))
        ->type_name("N");
    app.add_option("--limit", options.limit_s,
                   "seconds: a model whose waits alone take longer is not run, one that takes "
                   "three times as long is stopped")
        ->check(CLI::Range(0.1, 100'000.0))
        ->type_name("S");
    app.add_flag("--quick", options.quick, "small sizes, one run each: about 30 s in all");
    app.add_option("--json", options.json_path, "write all figures there")->type_name("FILE");
    app.add_option("--html", options.html_path, "write a page with charts there")
        ->type_name("FILE");
}

}  // namespace

bool reads_input(Workload workload) {
    return workload != Workload::wait && workload != Workload::network;
}

std::optional<Options> parse_options(int argc, char** argv) {
    Options options;
    options.workers = available_cores();
    Names names;
    CLI::App app(kIntro, "weft-compare");
    app.footer(footer());
    declare(app, options, names);
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        fmt::print("{}", app.help());
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        throw BadOptions(one_line(error.what()));
    }
    if (options.quick) {
        if (app.count("--repeat") == 0) options.repeat = 1;
        if (app.count("--limit") == 0) options.limit_s = 2;
    }
    options.workloads = chosen_workloads(names.workloads);
    options.models = chosen_models(names.models);
    const auto& workloads = options.workloads;
    if (app.count("--input") > 0 || std::any_of(workloads.begin(), workloads.end(), &reads_input)) {
        check_input(options);
    }
    check_writable("--json", options.json_path);
    check_writable("--html", options.html_path);
    return options;
}

}  // namespace weft_compare
