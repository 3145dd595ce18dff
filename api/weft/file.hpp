// Files on a disk. The kernel has no "would block" for them: each call waits for the disk, so each is made on a thread of
// to_thread's pool, while the task waits and its worker runs others.
//
// What one waits *for*, pipes, FIFOs and terminals, is <weft/pipe.hpp>'s.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace weft {

/// How a file is opened. One of the first three must be asked for.
struct FileOptions {
    bool read = false;
    bool write = false;
    bool append = false;          ///< each write goes to the end, wherever that is by then
    bool create = false;          ///< where there is none; needs write or append
    bool exclusive = false;       ///< create, and EEXIST where there is one
    bool truncate = false;        ///< drops what is in it; needs write
    unsigned permissions = 0666;  ///< of a new file; less the process's umask
};

namespace detail {
class FileState;
struct FileStateDeleter {
    void operator()(FileState* state) const noexcept;
};
using FileStatePtr = std::unique_ptr<FileState, FileStateDeleter>;
}  // namespace detail

/// An open file. Movable. Its destructor closes it.
///
/// Threads: any task of any runtime, and any number at once, in all members but the moves and the destructor. What one
/// write_at() or write() does is not atomic for those who read at the same time.
///
/// Waits: every function but fileno(), path() and is_closed(), and the destructor and the assignment, which close. UsageError: outside of a task, or the file is closed.
/// std::system_error: what the kernel refuses, with the operation and the path in what(): ENOSPC, EIO, EDQUOT, and EFBIG at the
/// limit of a file's size, for which no signal is raised.
///
/// Cancellation: a call that has not come to its turn on a thread is taken out, and nothing has happened. What the kernel
/// does cannot be taken back and may use the caller's memory: it is waited for, a piece of 1 MiB at most of a long read or
/// write, and then comes CancelledError, at which a write may have been done in part, and what a read() brought is lost,
/// though the place has moved on: read_at() can be done again. So no memory is used after a call has returned, and a timeout
/// may come late where the disk hangs.
///
/// Cost: the way to a thread and back, besides the system call; large pieces cost less than many small ones. The threads are
/// those of to_thread, cores + 4: more calls at once queue.
class File {
public:
    /// Closed.
    File() noexcept = default;

    // --- at a place; these do not move where read() and write() are ---

    /// Fills `into` from `offset` on; how many bytes there were, fewer only where the file ends.
    std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) const;
    /// n bytes, or as many as there are up to the end. All n are allocated first.
    std::string read_at(std::uint64_t offset, std::size_t n) const;
    /// Writes all of it. Beyond the end, what lies between reads as zeros. UsageError: the file was opened to append.
    void write_at(std::uint64_t offset, std::string_view data);
    void write_at(std::uint64_t offset, std::span<const std::byte> data) {
        write_at(offset, std::string_view(reinterpret_cast<const char*>(data.data()), data.size()));
    }

    // --- one after another; from the start, calls take turns ---

    /// The next n bytes, fewer only where the file ends, "" at its end.
    std::string read(std::size_t n);
    /// All to the end.
    std::string read();
    /// Writes all of it, together though others write() too; in a file that was opened to append, at its end.
    void write(std::string_view data);
    void write(std::span<const std::byte> data) {
        write(std::string_view(reinterpret_cast<const char*>(data.data()), data.size()));
    }
    /// Where the next read() or write() is.
    void seek(std::uint64_t offset);

    // --- as a whole ---

    std::uint64_t size() const;
    /// Cuts it, or makes it longer by zeros.
    void truncate(std::uint64_t size);
    /// Waits until all that was written is on the disk (fsync). The name of a new file is its directory's matter.
    void sync();

    /// Closes it; no cancel point. Calls in progress in other tasks go on, and the last of them closes the descriptor. Twice
    /// is fine. Outside of a task it blocks the thread, and in a task its worker where no thread of to_thread's is free: it
    /// does not queue for one. std::system_error: bytes that were written before are lost (EIO, EDQUOT), where no call was in
    /// progress. It is closed all the same.
    void close();
    bool is_closed() const noexcept;
    /// -1: closed. It stays the file's.
    int fileno() const noexcept;
    /// As it was opened; "" of a File() that never was.
    const std::string& path() const noexcept;

private:
    friend File open_file(const std::string& path, const FileOptions& options);
    explicit File(detail::FileStatePtr state) noexcept : state_(std::move(state)) {}
    detail::FileState& state(const char* what) const;

    detail::FileStatePtr state_;
};

/// Opens a file, by default to read. Close-on-exec.
///
/// Waits. Cancelled there, it is closed again; one that was created stays. std::system_error: ENOENT, EACCES, EEXIST, EMFILE,
/// EISDIR for a directory, with the path. std::invalid_argument: options that contradict each other, a null byte in the path,
/// or a FIFO or socket, for which there is PipeStream, as for terminals, which say EAGAIN here. UsageError outside of a task.
File open_file(const std::string& path, const FileOptions& options = {.read = true});

/// All bytes of a file. Works where the size is not known before, as in /proc.
///
/// Waits, once. Cancelled there, it stops after a piece of 1 MiB at most. Errors as open_file and File.
std::string read_file(const std::string& path);

struct WriteFileOptions {
    /// Returns when the bytes and the name are on the disk: a crash of the machine leaves the old file or the new one.
    bool sync = false;
    /// Of a new file, less the umask; one that is replaced keeps its own.
    unsigned permissions = 0666;
};

/// Makes a file have these bytes and no others, in one step: who opens it, at any time, finds all of the old bytes or all of
/// the new. They go to a file beside it (`.weft-*.tmp`), which then takes its name.
///
/// So the directory must be writable, other hard links keep the old bytes, and a new file belongs to this process's user.
/// A symbolic link stays and what it leads to is replaced; ENOENT where that is nothing. What is no regular file, as a device, is
/// written in place.
/// Waits, once. Cancelled there, or failed, the file is as it was, or already the new one as a whole, and nothing is left
/// beside it. Errors as open_file and File.
void write_file(const std::string& path, std::string_view data,
                const WriteFileOptions& options = {});
inline void write_file(const std::string& path, std::span<const std::byte> data,
                       const WriteFileOptions& options = {}) {
    write_file(path, std::string_view(reinterpret_cast<const char*>(data.data()), data.size()),
               options);
}

}  // namespace weft
