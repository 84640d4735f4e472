// C++'s operators new and delete on the override: all forms, and what happens when memory is used up.
// Prints what it found; the same with libstdc++'s own operators.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

static int handled;
static void give_up() {
    if (++handled == 2) std::set_new_handler(nullptr);
}
struct wide { alignas(128) char bytes[256]; };
static bool aligned(const void *p, std::size_t to) { return reinterpret_cast<std::uintptr_t>(p) % to == 0; }
static const std::size_t huge = std::numeric_limits<std::size_t>::max() / 4; // not known to the compiler
static volatile std::size_t too_much = huge;

template <class F> static const char *thrown(F allocate) {
    try {
        return allocate() ? "memory" : "null";
    } catch (const std::bad_alloc &) {
        return "bad_alloc";
    }
}

int main() {
    // each form of new with the forms of delete that go with it
    for (std::size_t n = 0; n < 70000; n = n < 40 ? n + 1 : n * 2) {
        void *p[8] = {
            ::operator new(n), ::operator new[](n), ::operator new(n, std::nothrow), ::operator new[](n, std::nothrow),
            ::operator new(n, std::align_val_t(64)), ::operator new[](n, std::align_val_t(256)),
            ::operator new(n, std::align_val_t(4096), std::nothrow), ::operator new[](n, std::align_val_t(32), std::nothrow)};
        for (int i = 0; i < 8; i++) {
            if (!p[i]) return 1;
            for (int j = 0; j < i; j++) if (p[i] == p[j]) return 2;
            std::memset(p[i], i, n);
        }
        if (!aligned(p[4], 64) || !aligned(p[5], 256) || !aligned(p[6], 4096) || !aligned(p[7], 32)) return 3;
        ::operator delete(p[0]), ::operator delete[](p[1], n), ::operator delete(p[2], std::nothrow);
        ::operator delete[](p[3], std::nothrow), ::operator delete(p[4], std::align_val_t(64));
        ::operator delete[](p[5], n, std::align_val_t(256));
        ::operator delete(p[6], std::align_val_t(4096), std::nothrow), ::operator delete[](p[7], std::align_val_t(32));
        ::operator delete(::operator new(n), n), ::operator delete(static_cast<void *>(nullptr));
    }
    // memory is used up
    std::puts(thrown([] { return ::operator new(too_much); }));
    std::puts(thrown([] { return ::operator new[](too_much); }));
    std::puts(thrown([] { return ::operator new(too_much, std::nothrow); }));
    std::puts(thrown([] { return ::operator new[](too_much, std::nothrow); }));
    std::puts(thrown([] { return ::operator new(too_much, std::align_val_t(64)); }));
    std::puts(thrown([] { return ::operator new[](too_much, std::align_val_t(64), std::nothrow); }));
    std::set_new_handler(give_up);
    std::puts(thrown([] { return ::operator new(too_much); }));
    std::printf("%d calls of the handler\n", handled);
    std::set_new_handler([] { throw std::bad_alloc(); });
    std::puts(thrown([] { return ::operator new(too_much, std::nothrow); }));
    // containers
    std::map<std::string, std::vector<std::shared_ptr<wide>>> m;
    for (int i = 0; i < 20000; i++) m[std::to_string(i % 700)].push_back(std::make_shared<wide>());
    std::size_t bad = 0, all = 0;
    for (auto &entry : m) for (auto &w : entry.second) all++, bad += !aligned(w.get(), 128);
    std::printf("%zu objects, %zu not aligned\n", all, bad);
    return bad != 0;
}
