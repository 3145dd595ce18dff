// The server that Workload::network asks: it answers each request after the plan's wait.
//
// The same server for all models, in a process of its own, so that no model is charged for it. A client connects, sends
// its task's number as a line, and reads the answer to the end of the stream; that the server closes first leaves no
// client's port behind in TIME_WAIT.
#pragma once

#include <cstdint>
#include <string_view>

#include "child_process.hpp"
#include "plan.hpp"

namespace weft_compare {

inline constexpr std::string_view kServeOption = "--serve";

class Server {
public:
    // Throws where it does not come up.
    explicit Server(const Plan& plan);
    std::uint16_t port() const { return port_; }

private:
    ChildProcess process_;
    std::uint16_t port_;
};

// The inside of the server's process: prints the port and serves until it is killed.
int run_server(std::string_view wait_ns, std::string_view workers, std::string_view supervisor);

// Connections need descriptors, and the usual limit is 1,024: takes what this process may take, for its children too.
void raise_descriptor_limit();

}  // namespace weft_compare
