// expect: derived_from
// A case refers to the value that it is given, so it must not outlive the call.
#include <weft/weft.hpp>

int main() {
    weft::Event event;
    auto later = weft::on(event);
    weft::select(later);
}
