// What all connections share.
#pragma once

#include "compute.hpp"
#include "drain.hpp"
#include "metrics.hpp"
#include "options.hpp"

namespace compute_server {

struct Service {
    explicit Service(const Options& its_options, std::ptrdiff_t compute_limit)
        : options(its_options), compute(compute_limit) {}

    const Options& options;
    Compute compute;
    Metrics metrics;
    Drain drain;
};

}  // namespace compute_server
