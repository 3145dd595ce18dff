// Streams over pipes, FIFOs and terminals (asyncio's connect_read_pipe and connect_write_pipe).
#pragma once

#include <weft/stream.hpp>

namespace weft {

/// One end of a pipe, a terminal, or another character device. As all streams; with these differences: write_eof() closes
/// it, since it has one direction; sendfile() and the calls about addresses and options are for sockets; of Asio's buffer
/// sequences each call takes the first buffer alone.
class PipeStream : public Stream {
public:
    PipeStream() noexcept = default;
    /// Takes over a descriptor, and closes it if this throws. A connected socket will do as well.
    ///
    /// It is made not to block, and that belongs to the open file and not to the descriptor: whoever shares it, as the
    /// shell shares a program's standard streams, sees it too, also after the program has ended. For such ones there are
    /// open_stdin() and the like. Never waits. std::invalid_argument: a regular file, a directory or a block device, for
    /// which there is nothing to wait (read them in to_thread); UsageError outside of a task; std::system_error.
    static PipeStream from_fd(int fd);

private:
    friend struct detail::StreamMaker;
    explicit PipeStream(detail::StreamStatePtr state) noexcept : Stream(std::move(state)) {}
};

/// The program's standard input and outputs as streams. Each call opens them anew, by /proc/self/fd, so that nobody who
/// shares them finds them not to block; where that cannot be (a socket, somebody else's terminal) a copy of the descriptor
/// is taken, and then they do. Closing the stream leaves descriptors 0 to 2 open. Errors as PipeStream::from_fd: so
/// std::invalid_argument where it is redirected from or to a file.
PipeStream open_stdin();
PipeStream open_stdout();
PipeStream open_stderr();

}  // namespace weft
