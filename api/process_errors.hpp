// Exceptions that travel: a worker describes the one that came out of a call, the caller throws its
// likeness.
//
// A type of std's comes back as itself: its code and what it is made of are sent (the text; an
// error code; paths). Any other type comes back as weft::RemoteError, which has its name. An
// exception nested in another is the next level.
// Invariant: describing never fails for want of room (texts are cut), and whatever bytes come,
// rebuilding ends.
#pragma once

#include <weft/archive.hpp>

#include <exception>

namespace weft::detail {

/// The most that write_exception() writes.
inline constexpr std::size_t kExceptionBytesMax = 48 * 1024;

void write_exception(const std::exception_ptr& error, OutputArchive& out);

/// @throws ArchiveError if the bytes are none
std::exception_ptr read_exception(InputArchive& in);

}  // namespace weft::detail
