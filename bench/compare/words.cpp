// Splitting, counting and adding up words; see words.hpp.
#include "words.hpp"

#include <utility>

namespace weft_compare {
namespace {

constexpr std::array<bool, 256> kSpace = [] {
    std::array<bool, 256> table{};
    for (unsigned char c : {' ', '\t', '\n', '\r', '\v', '\f'}) table[c] = true;
    return table;
}();

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t crc = i;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
        table[i] = crc;
    }
    return table;
}();

template <typename OnWord>
void for_each_word(std::string_view text, OnWord on_word) {
    const auto is_space = [](char c) { return kSpace[static_cast<unsigned char>(c)]; };
    for (std::size_t at = 0; at < text.size();) {
        while (at < text.size() && is_space(text[at])) ++at;
        const std::size_t begin = at;
        while (at < text.size() && !is_space(text[at])) ++at;
        if (at > begin) on_word(text.substr(begin, at - begin));
    }
}

}  // namespace

std::uint32_t crc32(std::string_view text) {
    std::uint32_t crc = 0xFFFFFFFFu;
    for (char c : text) crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
    return ~crc;
}

FileWords::FileWords(Bytes content) : content_(std::move(content)) {
    constexpr std::size_t kFirstSlots = 1024;
    slots_.resize(kFirstSlots);
    for_each_word({content_.data(), content_.size()},
                  [this](std::string_view text) { count(text); });
    slots_ = {};
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return shard_of(a.word) < shard_of(b.word); });
}

void FileWords::count(std::string_view text) {
    const Word word(text);
    const std::size_t mask = slots_.size() - 1;
    std::size_t slot = word.hash & mask;
    for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
        Entry& entry = entries_[slots_[slot] - 1];
        if (entry.word.hash == word.hash && entry.word.text == text) {
            ++entry.count;
            return;
        }
    }
    entries_.push_back({word, 1});
    slots_[slot] = static_cast<std::uint32_t>(entries_.size());
    if (entries_.size() * 2 > slots_.size()) grow();
}

void FileWords::grow() {
    slots_.assign(slots_.size() * 4, 0);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
        std::size_t slot = entries_[i].word.hash & mask;
        while (slots_[slot] != 0) slot = (slot + 1) & mask;
        slots_[slot] = static_cast<std::uint32_t>(i + 1);
    }
}

void SharedWords::add_text(std::string_view text) {
    for_each_word(text, [this](std::string_view word) { add(Word(word), 1); });
}

void SharedWords::add(const Word& word, std::uint64_t count) {
    Table& table = shards_[shard_of(word)];
    if (const auto found = table.find(word); found != table.end()) {
        found->second += count;
    } else {
        table.emplace(word.text, count);
    }
}

std::uint64_t SharedWords::checksum() const {
    std::uint64_t sum = 0;
    for (const Table& table : shards_) {
        for (const auto& [word, count] : table) sum += crc32(word) * count;
    }
    return sum;
}

std::uint64_t SharedWords::total() const {
    std::uint64_t sum = 0;
    for (const Table& table : shards_) {
        for (const auto& [word, count] : table) sum += count;
    }
    return sum;
}

std::size_t SharedWords::distinct() const {
    std::size_t sum = 0;
    for (const Table& table : shards_) sum += table.size();
    return sum;
}

}  // namespace weft_compare
