// A crowd of tasks, and cancels that come to them at any moment.
#pragma once

#include <weft/weft.hpp>

#include <random>
#include <vector>

#include "api/support.hpp"

/// How much of everything.
struct Size {
    int tasks;
    int rounds;
    int cancels;
};

/// Lets others run, and is no cancel point.
inline void let_others_run() {
    weft::ShieldScope shield;
    weft::yield();
}

/// Runs `body(i)` in n tasks and cancels them at random meanwhile, `size.cancels` times.
template <class Body>
void with_cancels(Size size, Body body) {
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < size.tasks; ++i) tasks.push_back(start([&body, i] { body(i); }));
    std::mt19937 random(42);
    for (int i = 0; i < size.cancels; ++i) {
        tasks[random() % tasks.size()].cancel();
        for (auto n = random() % 4; n > 0; --n) weft::yield();
    }
    for (auto& task : tasks) await_end(task);
}

/// Calls f until it was not cancelled.
template <class F>
auto persist(F f) {
    for (;;) {
        try {
            return f();
        } catch (const weft::CancelledError&) {
        }
    }
}
