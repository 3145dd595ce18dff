// The slow paths of <weft/archive.hpp>: growing, and what is wrong with the bytes that came.
#include <weft/archive.hpp>

#include <algorithm>
#include <new>
#include <system_error>

namespace weft {

namespace {

constexpr std::size_t kFirstBlockBytes = 256;
/// A fiber's stack holds that many frames of a recursive read, unoptimised ones too.
constexpr unsigned kDepthMax = 256;

}  // namespace

void OutputArchive::grow(std::size_t more) {
    if (more > bytes_max_ || size_ > bytes_max_ - more) {
        throw ArchiveError("weft: a value is larger than a message may be (" +
                           std::to_string(bytes_max_) +
                           " bytes; ProcessPoolOptions::message_bytes_max)");
    }
    // Never more than the limit, so that write_bytes() comes here before it is passed.
    std::size_t wanted =
        std::min(std::max({size_ + more, capacity_ * 2, kFirstBlockBytes}), bytes_max_);
    auto* moved = static_cast<std::byte*>(std::realloc(data_, wanted));
    if (moved == nullptr) throw std::bad_alloc();
    data_ = moved;
    capacity_ = wanted;
}

void OutputArchive::write_memory(const detail::SharedMemoryRef& memory) {
    if (memories_ == nullptr) memories_ = std::make_unique<detail::SharedMemoryList>();
    auto end = memories_->items.begin() + static_cast<std::ptrdiff_t>(memories_->count);
    auto place = std::find(memories_->items.begin(), end, memory);
    if (place == end) {
        if (memories_->count == memories_->items.size()) {
            throw ArchiveError("weft: a message takes at most " +
                               std::to_string(memories_->items.size()) + " shared buffers");
        }
        *place = memory;
        ++memories_->count;
    }
    write_size(static_cast<std::uint64_t>(place - memories_->items.begin()));
}

std::uint64_t InputArchive::read_number() {
    std::uint64_t number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        std::uint8_t byte = 0;
        read_bytes(&byte, 1);
        std::uint64_t bits = byte & 0x7fU;
        if (shift == 63 && bits > 1) break;
        number |= bits << shift;
        if (byte < 0x80) return number;
    }
    throw_malformed("a number of more than 64 bits");
}

std::size_t InputArchive::read_size(std::size_t bytes_each) {
    std::uint64_t size = read_number();
    if (size > rest() / bytes_each) {
        throw ArchiveError("weft: malformed message: it announces " + std::to_string(size) +
                           " elements, and has " + std::to_string(rest()) + " bytes left");
    }
    return static_cast<std::size_t>(size);
}

detail::SharedMemoryRef InputArchive::read_memory() {
    std::uint64_t number = read_number();
    if (files_ == nullptr || number >= files_->count()) {
        throw_malformed("a shared buffer that did not come with it");
    }
    if (memories_ == nullptr) memories_ = std::make_unique<detail::SharedMemoryList>();
    detail::SharedMemoryRef& memory = memories_->items[number];
    if (memory == nullptr) {
        std::size_t size = files_->size(number);
        int error = detail::map_shared_memory(files_->take(number), size, memory);
        if (error != 0) {
            throw std::system_error(
                -error, std::generic_category(),
                "weft::SharedBuffer of " + std::to_string(size) + " bytes: it cannot be mapped");
        }
        ++memories_->count;
    }
    return memory;
}

void InputArchive::finish() const {
    if (rest() != 0) {
        throw ArchiveError("weft: malformed message: " + std::to_string(rest()) +
                           " bytes are left over");
    }
    std::size_t came = files_ == nullptr ? 0 : files_->count();
    std::size_t read = memories_ == nullptr ? 0 : memories_->count;
    if (read != came) throw_malformed("a shared buffer came with it that no value refers to");
}

void InputArchive::throw_malformed(const char* what) {
    throw ArchiveError(std::string("weft: malformed message: ") + what);
}

void InputArchive::throw_short(std::size_t wanted) const {
    throw ArchiveError("weft: malformed message: it ends after " + std::to_string(rest()) +
                       " bytes where " + std::to_string(wanted) + " are wanted");
}

void NestingDepth::enter() {
    if (depth_ >= kDepthMax) {
        throw ArchiveError("weft: a value nests more than " + std::to_string(kDepthMax) +
                           " levels deep");
    }
    ++depth_;
}

}  // namespace weft
