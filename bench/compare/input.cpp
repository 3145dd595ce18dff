// Walking and reading the input directory; see input.hpp.
#include "input.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "workload.hpp"

namespace weft_compare {
namespace fs = std::filesystem;
namespace {

// An iterator that throws ends the walk; here a directory that cannot be opened is one more
// unreadable entry.
void walk(const fs::path& directory, std::vector<std::string>& files,
          std::vector<Unreadable>& unreadable) {
    std::error_code error;
    fs::directory_iterator entry(directory, error);
    const fs::directory_iterator end;
    while (!error && entry != end) {
        std::error_code ignored;
        const fs::file_status status = entry->symlink_status(ignored);
        if (fs::is_directory(status)) {
            walk(entry->path(), files, unreadable);
        } else if (fs::is_regular_file(status)) {
            files.push_back(entry->path().string());
        }
        entry.increment(error);
    }
    if (error) unreadable.push_back({directory.string(), error.message()});
}

}  // namespace

std::uint64_t Input::bytes() const {
    return std::accumulate(sizes.begin(), sizes.end(), std::uint64_t{0});
}

Input read_input(const fs::path& directory,
                 const std::function<void(std::size_t, std::size_t)>& progress) {
    constexpr std::size_t kFilesPerReport = 512;
    Input input{directory, {}, {}, {}};
    std::vector<std::string> found;
    walk(directory, found, input.unreadable);
    std::sort(found.begin(), found.end());
    Bytes content;
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (i % kFilesPerReport == 0) progress(i, found.size());
        if (const std::error_code error = read_file(found[i], content)) {
            input.unreadable.push_back({std::move(found[i]), error.message()});
        } else {
            input.files.push_back(std::move(found[i]));
            input.sizes.push_back(content.size());
        }
    }
    return input;
}

}  // namespace weft_compare
