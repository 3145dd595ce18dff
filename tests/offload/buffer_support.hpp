// What the tests of SharedBuffer share: buffers whose bytes tell whether they are right, and what
// this process has open.
#pragma once

#include <weft/shared_buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <fstream>
#include <functional>
#include <numeric>
#include <ostream>
#include <span>
#include <sstream>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>

namespace weft::test {

/// The file behind an address, and how it is mapped, as the kernel tells; 0: no file.
struct Mapping {
    std::uint64_t inode = 0;
    std::string flags;
};
inline Mapping mapping_at(const void* address) {
    std::ifstream maps("/proc/self/maps");
    auto wanted = reinterpret_cast<std::uintptr_t>(address);
    for (std::string line; std::getline(maps, line);) {
        std::uintptr_t begin = 0;
        std::uintptr_t end = 0;
        char dash = 0;
        std::string offset;
        std::string device;
        Mapping mapping;
        std::istringstream fields(line);
        fields >> std::hex >> begin >> dash >> end >> mapping.flags >> offset >> device >>
            std::dec >> mapping.inode;
        if (begin <= wanted && wanted < end) return mapping;
    }
    return {};
}

inline int count_descriptors() {
    int open = 0;
    for (int fd = 0; fd < 256; ++fd) open += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
    return open;
}

/// Those that a program which this process starts would get too.
inline int count_inheritable() {
    int open = 0;
    for (int fd = 0; fd < 256; ++fd) open += ::fcntl(fd, F_GETFD) == 0 ? 1 : 0;
    return open;
}

/// Of memory files of ours.
inline int count_mappings() {
    std::ifstream maps("/proc/self/maps");
    int count = 0;
    for (std::string line; std::getline(maps, line);) {
        count += line.find("memfd:weft") != std::string::npos ? 1 : 0;
    }
    return count;
}

/// Filled with its elements' numbers.
inline SharedBuffer counting(std::size_t elements) {
    SharedBuffer buffer(elements * sizeof(int));
    std::span<int> numbers = buffer.writable_as<int>();
    std::iota(numbers.begin(), numbers.end(), 0);
    return buffer;
}

inline bool counts(const SharedBuffer& buffer) {
    std::span<const int> numbers = buffer.as<int>();
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (numbers[i] != static_cast<int>(i)) return false;
    }
    return true;
}

inline std::string text_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "it returned";
}

/// What of it there is at this moment.
struct Open {
    int descriptors = count_descriptors();
    int mappings = count_mappings();
    bool operator==(const Open&) const = default;
};
inline std::ostream& operator<<(std::ostream& out, const Open& open) {
    return out << open.descriptors << " descriptors, " << open.mappings << " mappings";
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

}  // namespace weft::test
