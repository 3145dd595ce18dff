// The fuzzer's inputs, read once more in each build: those that it began with, and each that has
// found something.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <gtest/gtest.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

TEST(FuzzCorpus, IsReadOrRefusedButNeverMore) {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(WEFT_FUZZ_CORPUS)) {
        SCOPED_TRACE(entry.path().filename());
        std::ifstream file(entry.path(), std::ios::binary);
        std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
        ++count;
    }
    EXPECT_GE(count, 8);
}

}  // namespace
