// Drawing the progress; see progress.hpp.
#include "progress.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "format.hpp"

namespace weft_compare {
namespace {

constexpr std::size_t kBarCells = 24;
constexpr std::size_t kNamesShown = 10;

std::size_t terminal_columns() {
    winsize size{};
    const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : 80;
}

std::string bar_of(double fraction) {
    const auto full = static_cast<std::size_t>(std::floor(fraction * kBarCells));
    std::string bar;
    for (std::size_t cell = 0; cell < kBarCells; ++cell) bar += cell < full ? "█" : "░";
    return bar;
}

// At most so many characters; in UTF-8 those are the bytes that are not continuations.
std::string shortened(const std::string& text, std::size_t characters) {
    std::size_t seen = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const bool starts_character = (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
        if (starts_character && seen++ == characters) return text.substr(0, at);
    }
    return text;
}

}  // namespace

Progress::Progress() : terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
    if (drawn_) fmt::print(stderr, "\r\033[K");
    drawn_ = false;
}

void Progress::reading(std::size_t done, std::size_t total) {
    if (terminal_) {
        draw(fmt::format("reading the files: {} of {}", count_text(done), count_text(total)));
    } else if (done == 0) {
        fmt::print(stderr, "reading {}\n", plural(total, "file"));
    }
}

void Progress::unreadable(const std::vector<Unreadable>& files) {
    if (files.empty()) return;
    clear();
    for (std::size_t i = 0; i < std::min(files.size(), kNamesShown); ++i) {
        fmt::print(stderr, "weft-compare: cannot read {}: {}\n", files[i].path, files[i].why);
    }
    if (files.size() > kNamesShown) {
        fmt::print(stderr, "weft-compare: ... and {} more\n",
                   count_text(files.size() - kNamesShown));
    }
    fmt::print(stderr, "weft-compare: left out {}\n", plural(files.size(), "unreadable file"));
}

void Progress::running(std::string_view workload, std::string_view model, unsigned round) {
    if (finished_ == 0 && first_run_ == Clock::time_point{}) first_run_ = Clock::now();
    const bool new_round = workload != workload_ || round != round_;
    workload_ = workload;
    model_ = model;
    round_ = round;
    if (!terminal_ && new_round) {
        fmt::print(stderr, "[{}/{}] {}, round {}\n", finished_, planned_, workload_, round_ + 1);
    }
    tick();
}

void Progress::tick() {
    if (!terminal_) return;
    const double fraction =
        planned_ > 0 ? static_cast<double>(finished_) / static_cast<double>(planned_) : 0;
    draw(fmt::format("{} {:3.0f} %  {}: {}, round {}{}", bar_of(fraction), fraction * 100,
                     workload_, model_, round_ + 1, time_left()));
}

void Progress::finished(std::size_t runs) { finished_ += runs; }

// Runs differ much in length, so this is a rough guess; better than none, and silent until there is
// something to go by.
std::string Progress::time_left() const {
    constexpr std::size_t kRunsToGoBy = 8;
    if (finished_ < kRunsToGoBy) return {};
    const std::chrono::duration<double> spent = Clock::now() - first_run_;
    const double left =
        spent.count() * static_cast<double>(planned_ - finished_) / static_cast<double>(finished_);
    return fmt::format(", about {:.0f} s left", std::ceil(left / 5) * 5);
}

void Progress::draw(const std::string& what) {
    fmt::print(stderr, "\r\033[K{}", shortened(what, terminal_columns() - 1));
    std::fflush(stderr);
    drawn_ = true;
}

}  // namespace weft_compare
