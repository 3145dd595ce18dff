// The work itself, free of any model: what one task of each workload computes.
//
// Every model calls these functions and differs only in where and when it calls them. Each task gives a number that
// depends on all it did; the numbers of a run are added up (a sum does not mind the order) and compared between
// models. python/rows.py computes the same numbers and must be changed together with this room.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "plan.hpp"
#include "words.hpp"

namespace weft_compare {

// What a task hands back. Trivially copyable: it crosses pipes between processes as it is.
struct TaskResult {
    std::uint64_t value = 0;
    bool readable = true;
};

// Replaces content; on an error content is unspecified.
std::error_code read_file(const std::string& path, Bytes& content);

std::chrono::nanoseconds wait_of(const Plan& plan);
TaskResult wait_result(std::size_t task);  // proves that task's wait was really made
// A client of the server (server.hpp) as plain blocking code; and what is made of the answer's line.
TaskResult request(std::uint16_t port, std::uint64_t task);
std::string request_line(std::uint64_t task);
TaskResult result_of_answer(std::string_view answer);
TaskResult hash_file(const std::string& path, std::uint64_t hash_bytes);
TaskResult hash_file(const Plan& plan, std::size_t task);
// Neither ends nor listens: what a bug, or an input that nobody thought of, makes of a computation.
[[noreturn]] void run_away();
TaskResult gave_up_result(std::size_t task);
std::chrono::nanoseconds task_limit_of(const Plan& plan);

// The data of a task of Workload::buffer: its file, over and over. False where that cannot be read.
bool fill_buffer(const Plan& plan, std::size_t task, std::span<std::byte> buffer);
// A few passes over all of it, byte by byte; from and to have one size and may be the same.
void recode(std::span<const std::byte> from, std::span<std::byte> to);
// Of a byte in every few hundred, so that whoever has to look at a result alone is not held up by it.
TaskResult result_of_buffer(std::span<const std::byte> recoded);
// All three in one place, in memory of its own.
TaskResult recode_buffer(const Plan& plan, std::size_t task);

// How many bytes one core hashes in a second, measured now.
double hash_rate();

// Reads one file and counts its words apart; then straight into the table, for whoever is alone there.
TaskResult count_file(const std::string& path, FileWords& words);
TaskResult count_file(const std::string& path, SharedWords& words);

using WordLocks = std::array<std::mutex, kWordShards>;

// One task as plain blocking code: what a thread, a pool or a sequential program runs.
TaskResult blocking_task(const Plan& plan, std::size_t task, SharedWords& words, WordLocks& locks);

}  // namespace weft_compare
