// Where memory runs out: while a FailingNew lives, operator new of this thread fails from the n-th call on. For code that
// does not wait, so that its task stays on the thread.
#pragma once

namespace weft::test {

class FailingNew {
public:
    explicit FailingNew(int calls_before) noexcept;
    ~FailingNew() { end(); }
    FailingNew(const FailingNew&) = delete;
    FailingNew& operator=(const FailingNew&) = delete;
    void end() noexcept;
};

}  // namespace weft::test
