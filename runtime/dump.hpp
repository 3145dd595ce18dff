// "What is everybody waiting for": the tasks of a runtime, one line each.
#pragma once

#include <weft/lowlevel.hpp>

#include <cstdio>
#include <vector>

namespace weft::rt {

class Scheduler;

/// References to all tasks of this runtime that are not done (callbacks excluded). Each must be dropped.
std::vector<detail::TaskCore*> all_tasks(const Scheduler& scheduler);

void dump_tasks(const Scheduler& scheduler, std::FILE* out) noexcept;

}  // namespace weft::rt
