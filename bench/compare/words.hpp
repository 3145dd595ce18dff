// The shared word count: the state that all tasks of Workload::shared have in common.
//
// It is written as one would who means it to be fast: each word is hashed once, a file's words are counted apart
// first, and the table is cut into shards with a lock each, so that tasks rarely meet. Models in which nothing
// else runs meanwhile (sequential, one event loop) count straight into it and need no lock at all.
//
// Words are what Python's bytes.split() gives, and the checksum is made of zlib.crc32's, so that python/rows.py
// can do the same work with what it has in C.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace weft_compare {

using Bytes = std::vector<char>;

// As zlib's.
std::uint32_t crc32(std::string_view text);

struct Word {
    explicit Word(std::string_view t) : text(t), hash(std::hash<std::string_view>{}(t)) {}

    std::string_view text;
    std::size_t hash;
};

// A power of two; many more than cores, so that two tasks seldom want the same one.
inline constexpr std::size_t kWordShards = 64;

// From bits that neither the shards' tables nor FileWords's slots use first.
inline std::size_t shard_of(const Word& word) { return word.hash >> 48 & (kWordShards - 1); }

// The distinct words of one text with their counts, sorted by shard. They point into the text, which it owns.
class FileWords {
public:
    struct Entry {
        Word word;
        std::uint64_t count;
    };

    FileWords() = default;
    explicit FileWords(Bytes content);

    const std::vector<Entry>& entries() const { return entries_; }

private:
    void count(std::string_view text);
    void grow();

    Bytes content_;
    std::vector<Entry> entries_;
    std::vector<std::uint32_t> slots_;  // open addressing: 1 + an index into entries_; 0 is free
};

class SharedWords {
public:
    // Unlocked: for whoever is alone here.
    void add_text(std::string_view text);
    void add(const Word& word, std::uint64_t count);

    // Adds all of a file's words, holding the lock of one shard at a time. locks: kWordShards of them; first:
    // where to begin, different for each task so that they do not queue up behind one another.
    template <typename Locks>
    void merge(const FileWords& words, Locks& locks, std::size_t first);

    std::uint64_t checksum() const;
    std::uint64_t total() const;
    std::size_t distinct() const;

private:
    // Looks up by a Word without hashing it again or making a string of it.
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(const Word& word) const { return word.hash; }
        std::size_t operator()(const std::string& text) const { return Word(text).hash; }
    };
    struct Equal {
        using is_transparent = void;
        bool operator()(const std::string& a, const std::string& b) const { return a == b; }
        bool operator()(const Word& a, const std::string& b) const { return a.text == b; }
        bool operator()(const std::string& a, const Word& b) const { return a == b.text; }
    };
    using Table = std::unordered_map<std::string, std::uint64_t, Hash, Equal>;

    std::array<Table, kWordShards> shards_;
};

template <typename Locks>
void SharedWords::merge(const FileWords& words, Locks& locks, std::size_t first) {
    const std::vector<FileWords::Entry>& entries = words.entries();
    const auto begins_at = [](const FileWords::Entry& entry, std::size_t shard) {
        return shard_of(entry.word) < shard;
    };
    for (std::size_t i = 0; i < kWordShards; ++i) {
        const std::size_t shard = (first + i) % kWordShards;
        auto entry = std::lower_bound(entries.begin(), entries.end(), shard, begins_at);
        if (entry == entries.end() || shard_of(entry->word) != shard) continue;
        const std::lock_guard guard(locks[shard]);
        for (; entry != entries.end() && shard_of(entry->word) == shard; ++entry) {
            add(entry->word, entry->count);
        }
    }
}

}  // namespace weft_compare
