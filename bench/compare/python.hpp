// CPython beside C++: the same work under python3's own asyncio, threading and multiprocessing.
//
// The program, python/rows.py, is embedded in the binary, which can therefore be copied anywhere.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weft_compare {

// The version of the python3 on PATH, as "3.11.2"; nothing where there is none that rows.py can
// use.
std::optional<std::string> find_python();

// Becomes python3. Returns only where that fails, with an exit status.
int exec_python(std::string_view model_key, const std::string& plan_path);

}  // namespace weft_compare
