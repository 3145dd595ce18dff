// What a person sees on stderr while the study runs: a bar on a terminal, else a line now and then
// for a log.
#pragma once

#include <string>

#include "study.hpp"

namespace weft_compare {

class Progress : public Watcher {
public:
    Progress();
    ~Progress() override;

    void reading(std::size_t done, std::size_t total) override;
    void unreadable(const std::vector<Unreadable>& files) override;
    void planned(std::size_t runs) override { planned_ = runs; }
    void running(std::string_view workload, std::string_view model, unsigned round) override;
    void tick() override;
    void finished(std::size_t runs) override;

    void clear();  // the bar leaves the screen, so that other output can come

private:
    void draw(const std::string& what);
    std::string time_left() const;

    bool terminal_;
    std::size_t planned_ = 0;
    std::size_t finished_ = 0;
    Clock::time_point first_run_{};
    std::string workload_;
    std::string model_;
    unsigned round_ = 0;
    bool drawn_ = false;
};

}  // namespace weft_compare
