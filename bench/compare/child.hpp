// One model, alone in its process: runs it once and prints what it measured as one line of JSON on
// stdout.
//
// The supervisor (supervise.cpp) starts this program again with --run-model. A process of its own
// makes peak memory and CPU time the model's own, gives each the same cold start, and lets a crash
// cost one row.
#pragma once

#include <string_view>

namespace weft_compare {

inline constexpr std::string_view kRunModelOption = "--run-model";

// The plan is read from /proc/self/fd/<plan_fd>; supervisor is the process id of who started us. Returns the exit
// status.
int run_child(std::string_view model_key, std::string_view plan_fd, std::string_view supervisor);

}  // namespace weft_compare
