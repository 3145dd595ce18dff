// Runs one model once, in a process of its own, and brings back what it measured or why it could
// not.
//
// Whatever the model does (crash, hang, leave processes behind) ends here: it runs in a process
// group of its own, which is killed at the time limit and swept when the answer is in.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "figures.hpp"
#include "models.hpp"
#include "plan.hpp"

namespace weft_compare {

struct Attempt {
    Ending ending = Ending::failed;
    Sample sample;     // where done
    std::string why;   // where not
    std::string said;  // what it wrote to stderr
};

// The user pressed Ctrl-C (or asked us to end otherwise) while a model ran.
struct Interrupted {
    int signal;
};

// From now on, SIGINT, SIGTERM and SIGHUP make run_in_child throw Interrupted, after ending the
// model.
void catch_interrupts();

// The plan in a file without a name that children can read.
class PlanFile {
public:
    explicit PlanFile(const Plan& plan);
    ~PlanFile();
    PlanFile(const PlanFile&) = delete;
    PlanFile& operator=(const PlanFile&) = delete;
    int fd() const { return fd_; }

private:
    int fd_;
};

// tick() is called some ten times a second meanwhile.
Attempt run_in_child(const Model& model, const PlanFile& plan, std::chrono::duration<double> limit,
                     const std::function<void()>& tick);

}  // namespace weft_compare
