// The page at "/".
#pragma once

#include <string_view>

namespace compute_server {

extern const std::string_view kPage;

}  // namespace compute_server
