// The plan's one encoding; see plan.hpp. python/rows.py reads the same format.
#include "plan.hpp"

#include <array>
#include <stdexcept>
#include <string>

#include <nlohmann/json.hpp>

namespace weft_compare {
namespace {

constexpr std::array<std::string_view, kWorkloads.size()> kNames{
    "wait", "network", "shared", "cpu", "mixed", "runaway", "buffer"};

Workload workload_named(std::string_view name) {
    for (Workload workload : kWorkloads) {
        if (name_of(workload) == name) return workload;
    }
    throw std::runtime_error("the plan names an unknown workload");
}

}  // namespace

std::string_view name_of(Workload workload) { return kNames[static_cast<std::size_t>(workload)]; }

std::string encode(const Plan& plan) {
    const nlohmann::json head{{"workload", name_of(plan.workload)},
                              {"tasks", plan.tasks},
                              {"wait_ms", plan.wait_ms},
                              {"port", plan.port},
                              {"hash_bytes", plan.hash_bytes},
                              {"task_limit_ms", plan.task_limit_ms},
                              {"buffer_bytes", plan.buffer_bytes},
                              {"workers", plan.workers},
                              {"pool", plan.pool}};
    std::string text = head.dump() + '\n';
    for (const std::string& file : plan.files) {
        text += file;
        text += '\0';
    }
    return text;
}

Plan decode(std::string_view text) {
    const std::size_t newline = text.find('\n');
    if (newline == text.npos) throw std::runtime_error("the plan has no head line");
    const auto head = nlohmann::json::parse(text.substr(0, newline));
    Plan plan;
    plan.workload = workload_named(head.at("workload").get<std::string>());
    plan.tasks = head.at("tasks");
    plan.wait_ms = head.at("wait_ms");
    plan.port = head.at("port");
    plan.hash_bytes = head.at("hash_bytes");
    plan.task_limit_ms = head.at("task_limit_ms");
    plan.buffer_bytes = head.at("buffer_bytes");
    plan.workers = head.at("workers");
    plan.pool = head.at("pool");
    text.remove_prefix(newline + 1);
    while (!text.empty()) {
        const std::size_t end = text.find('\0');
        if (end == text.npos) throw std::runtime_error("the plan was cut short");
        plan.files.emplace_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    return plan;
}

}  // namespace weft_compare
