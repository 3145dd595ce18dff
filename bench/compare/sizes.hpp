// How large each workload is by default, and the plan that comes of the options.
//
// The defaults make all workloads with all models last one to two minutes on two cores, with
// tasks of a size that real programs have: thousands of waits, every header of the system, some
// milliseconds of CPU.
#pragma once

#include <string>

#include "input.hpp"
#include "options.hpp"

namespace weft_compare {

double cpu_ms_of(Workload workload, const Options& options);

Plan make_plan(Workload workload, const Options& options, const Input& input,
               double hash_bytes_per_s);

// What the workload is, in a line for people.
std::string headline_of(const Plan& plan, const Options& options, const Input& input);

// The model's name with the number that it has in this plan: "a thread pool (64)".
std::string label_of(const Model& model, const Plan& plan);

}  // namespace weft_compare
