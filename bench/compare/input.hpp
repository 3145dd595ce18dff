// The real input: every regular file below a directory, read once before anything is measured.
//
// The one reading does three things: it names the files that cannot be read (they are left out, and
// the rest goes on), it counts the bytes, and it fills the page cache, so that the first model is
// not charged for the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace weft_compare {

struct Unreadable {
    std::string path;
    std::string why;
};

struct Input {
    std::filesystem::path directory;
    std::vector<std::string> files;    // readable, sorted: the same order on every run
    std::vector<std::uint64_t> sizes;  // of files, in their order
    std::vector<Unreadable> unreadable;

    std::uint64_t bytes() const;
};

// Symbolic links are not followed: a link to a file would count it twice, one to a directory may be
// a cycle. progress(done, total) is called now and then.
Input read_input(const std::filesystem::path& directory,
                 const std::function<void(std::size_t, std::size_t)>& progress);

}  // namespace weft_compare
