// The command line: what to compare, how large, and where the report goes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "models.hpp"
#include "plan.hpp"

namespace weft_compare {

struct Options {
    std::vector<Workload> workloads;
    std::vector<const Model*> models;
    std::optional<std::size_t> tasks;  // nothing: the default of each workload
    std::optional<double> wait_ms;
    std::optional<double> cpu_ms;
    double task_limit_ms = 200;
    std::uint64_t buffer_mib = 4;
    std::filesystem::path input = "/usr/include";
    unsigned workers = 1;
    unsigned repeat = 3;
    double limit_s = 10;
    bool quick = false;
    std::string json_path;  // empty: not written
    std::string html_path;
};

// The user's mistake, in one line; the program ends with status 2.
struct BadOptions : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Whether its tasks read the files of --input.
bool reads_input(Workload workload);

// Nothing where --help was asked for and answered.
std::optional<Options> parse_options(int argc, char** argv);

}  // namespace weft_compare
