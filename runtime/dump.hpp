// "What is everybody waiting for": the tasks of a runtime, one line each.
#pragma once

#include <weft/detail/engine.hpp>
#include <weft/lowlevel.hpp>

#include <cstdio>
#include <vector>

namespace weft::rt {

class Scheduler;

void dump_tasks(const Scheduler& scheduler, std::FILE* out) noexcept;

}  // namespace weft::rt
