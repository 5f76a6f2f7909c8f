// See emulator.h. This file is compiled without sanitizers: it moves bytes between fibers that they would take for races.
#include "emulator.h"
#undef __shared__
#include <cstdio>
#include <cstdlib>
#include <random>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#ifdef EMULATOR_RACES
// ThreadSanitizer is told of fibers, and of what orders them: nothing but barriers and the bounds of a block.
extern "C" {
void *__tsan_get_current_fiber();
void *__tsan_create_fiber(unsigned);
void __tsan_switch_to_fiber(void *, unsigned);
void __tsan_acquire(void *);
void __tsan_release(void *);
}
#define RACES(...) __VA_ARGS__
static const unsigned NO_ORDER = 1;
#else
#define RACES(...)
#endif
#ifdef EMULATOR_BOUNDS
extern "C" void __asan_unpoison_memory_region(void const volatile *, size_t);
#endif

// The bounds of what kernels declare as shared.
extern "C" char __start_cuda_shared[] __attribute__((weak));
extern "C" char __stop_cuda_shared[] __attribute__((weak));

namespace emulator {
namespace {

const unsigned WARP = 32;
const unsigned MOST_THREADS = 1024;
const size_t MOST_SHARED = 227 * 1024;
const size_t STACK = 64 * 1024;
const size_t MOST_EXCHANGED = 64;
const char UNWRITTEN = char(0xcd);

enum class State { Ready, AtBlockBarrier, AtWarpBarrier, Done };

// Where a fiber goes on. Besides the first time that is no matter of the system, which switches contexts by calls.
using Place = void *[5];

struct Thread {
    ucontext_t context;
    Place place;
    bool begun;
    State state;
    dim3 index;
    unsigned number;
    // How many barriers of either kind it has met: two of them in turn have a place of their own to exchange and to order.
    unsigned block_barriers, warp_barriers;
    const char *where;
    char *stack;
    RACES(void *fiber;)
};

struct Warp {
    alignas(16) char exchanged[2][WARP][MOST_EXCHANGED];
    char order[2];
};

struct Run {
    const Kernel *kernel;
    void **arguments;
    dim3 grid, size, index;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<char> shared;
    Place scheduler;
    Thread *current;
    char begin_order, end_order, barrier_order[2];
    RACES(void *fiber;)
};

Run *run;
Kernel *kernels;

void copy(void *to, const void *from, size_t bytes) {
    volatile char *out = static_cast<volatile char *>(to);
    const volatile char *in = static_cast<const volatile char *>(from);
    for (size_t i = 0; i < bytes; i++) {
        out[i] = in[i];
    }
}

void fill_unwritten(char *from, char *to) {
    for (volatile char *at = from; at < to; at++) {
        *at = UNWRITTEN;
    }
}

Warp &warp() { return run->warps[run->current->number / WARP]; }

// A function of its own: where a place is kept there is no way to another one.
[[gnu::noinline, noreturn]] void leave_for(Place &other) { __builtin_longjmp(other, 1); }

// From one fiber to where another one stands.
[[gnu::noinline]] void go(Place &own, Place &other) {
    if (!__builtin_setjmp(own)) {
        leave_for(other);
    }
}

// Let others run until this one may go on.
void wait(State state, const char *where, [[maybe_unused]] void *order) {
    Thread &own = *run->current;
    own.state = state;
    own.where = where;
    RACES(__tsan_release(order); __tsan_switch_to_fiber(run->fiber, NO_ORDER);)
    go(own.place, run->scheduler);
    RACES(__tsan_acquire(order);)
}

void thread_body() {
    RACES(__tsan_acquire(&run->begin_order);)
    run->kernel->body(run->arguments);
    run->current->state = State::Done;
    RACES(__tsan_release(&run->end_order); __tsan_switch_to_fiber(run->fiber, NO_ORDER);)
    go(run->current->place, run->scheduler);
}

#ifdef EMULATOR_RACES
// That of the n-th thread, of any launch: to make one takes longer than most kernels.
void *fiber(size_t n) {
    static std::vector<void *> fibers;
    while (fibers.size() <= n) {
        fibers.push_back(__tsan_create_fiber(0));
    }
    return fibers[n];
}
#endif

void begin(Thread &thread) {
    thread.state = State::Ready;
    thread.begun = false;
    thread.block_barriers = thread.warp_barriers = 0;
    thread.where = nullptr;
#ifdef EMULATOR_BOUNDS
    __asan_unpoison_memory_region(thread.stack, STACK);
#endif
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack;
    thread.context.uc_stack.ss_size = STACK;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, thread_body, 0);
}

[[gnu::noinline]] void resume(Thread &thread) {
    run->current = &thread;
    RACES(__tsan_switch_to_fiber(thread.fiber, NO_ORDER);)
    if (thread.begun) {
        go(run->scheduler, thread.place);
    } else if (!__builtin_setjmp(run->scheduler)) {
        thread.begun = true;
        setcontext(&thread.context);
    }
}

// Threads from `first` to `last` of which none is ready: let them go on if all wait for each other in this way.
bool pass(unsigned first, unsigned last, State waiting) {
    const char *where = nullptr;
    unsigned there = 0, done = 0;
    for (unsigned n = first; n < last; n++) {
        Thread &thread = run->threads[n];
        done += thread.state == State::Done;
        if (thread.state != waiting) {
            continue;
        }
        there++;
        if (where && strcmp(where, thread.where)) {
            fail("threads wait for each other at different places, one of them at", where);
        }
        where = thread.where;
    }
    if (!there || there + done < last - first) {
        return false;
    }
    if (done) {
        fail("threads ended that others wait for at", where);
    }
    for (unsigned n = first; n < last; n++) {
        run->threads[n].state = State::Ready;
    }
    return true;
}

// Threads in their order until all are done.
void run_block(Order order, std::mt19937 &random) {
    unsigned count = run->threads.size();
    std::vector<unsigned> turns(count);
    for (unsigned n = 0; n < count; n++) {
        turns[n] = order == Order::Reverse ? count - 1 - n : n;
    }
    for (;;) {
        if (order == Order::Random) {
            for (unsigned n = count - 1; n > 0; n--) {
                std::swap(turns[n], turns[random() % (n + 1)]);
            }
        }
        for (unsigned n : turns) {
            if (run->threads[n].state == State::Ready) {
                resume(run->threads[n]);
            }
        }
        bool moved = false;
        for (unsigned first = 0; first < count; first += WARP) {
            moved |= pass(first, first + WARP < count ? first + WARP : count, State::AtWarpBarrier);
        }
        moved = moved || pass(0, count, State::AtBlockBarrier);
        if (moved) {
            continue;
        }
        for (Thread &thread : run->threads) {
            if (thread.state != State::Done) {
                fail("threads wait for others that do not come at", thread.where);
            }
        }
        return;
    }
}

} // namespace

Kernel::Kernel(const char *name, Body body, size_t arguments) : name(name), body(body), arguments(arguments), next(kernels) { kernels = this; }

const Kernel *find(const char *name) {
    for (Kernel *kernel = kernels; kernel; kernel = kernel->next) {
        if (!strcmp(kernel->name, name)) {
            return kernel;
        }
    }
    return nullptr;
}

void fail(const char *what, const char *where) {
    const char *kernel = run ? run->kernel->name : "no kernel";
    fprintf(stderr, "%s: %s %s\n", kernel, what, where ? where : "the start");
    abort();
}

void launch(const Kernel &kernel, dim3 grid, dim3 size, size_t shared, void **arguments, Order order, unsigned seed) {
    static char *stacks = nullptr;
    size_t count = size_t(size.x) * size.y * size.z;
    if (!stacks) {
        void *room = mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        stacks = static_cast<char *>(room);
    }
    Run own{};
    run = &own;
    own.kernel = &kernel;
    if (count == 0 || count > MOST_THREADS || !grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535) {
        fail("no grid or block has this size", "launch");
    }
    if (shared > MOST_SHARED) {
        fail("no block has so much shared memory", "launch");
    }
    own.arguments = arguments;
    own.grid = grid;
    own.size = size;
    own.threads.resize(count);
    own.warps.resize((count + WARP - 1) / WARP);
    own.shared.resize(shared);
    std::mt19937 random(seed);
    RACES(own.fiber = __tsan_get_current_fiber();)
    for (size_t n = 0; n < count; n++) {
        Thread &thread = own.threads[n];
        thread.number = n;
        thread.index = {unsigned(n % size.x), unsigned(n / size.x % size.y), unsigned(n / size.x / size.y)};
        thread.stack = stacks + STACK * n;
        RACES(thread.fiber = fiber(n);)
    }
    for (unsigned z = 0; z < grid.z; z++) {
        for (unsigned y = 0; y < grid.y; y++) {
            for (unsigned x = 0; x < grid.x; x++) {
                own.index = {x, y, z};
                fill_unwritten(__start_cuda_shared, __stop_cuda_shared);
                fill_unwritten(own.shared.data(), own.shared.data() + shared);
                for (Thread &thread : own.threads) {
                    begin(thread);
                }
                RACES(__tsan_release(&own.begin_order);)
                run_block(order, random);
                RACES(__tsan_acquire(&own.end_order);)
            }
        }
    }
    run = nullptr;
}

dim3 thread() { return run->current->index; }
dim3 block() { return run->index; }
dim3 block_size() { return run->size; }
dim3 grid_size() { return run->grid; }
char *dynamic_shared() { return run->shared.data(); }
unsigned lane() { return run->current->number % WARP; }

void block_barrier(const char *where) {
    unsigned turn = run->current->block_barriers++ % 2;
    wait(State::AtBlockBarrier, where, &run->barrier_order[turn]);
}

void warp_barrier(unsigned mask, const char *where) {
    if (mask != 0xffffffffu) {
        fail("only whole warps are emulated, at", where);
    }
    unsigned turn = run->current->warp_barriers++ % 2;
    wait(State::AtWarpBarrier, where, &warp().order[turn]);
}

void exchange(const void *own, void *theirs, size_t bytes, unsigned from, unsigned mask, const char *where) {
    if (bytes > MOST_EXCHANGED) {
        fail("too much is exchanged at", where);
    }
    unsigned turn = run->current->warp_barriers % 2;
    copy(warp().exchanged[turn][lane()], own, bytes);
    warp_barrier(mask, where);
    copy(theirs, warp().exchanged[turn][from], bytes);
}

static float half_of(unsigned pair, unsigned which) {
    uint16_t bits = uint16_t(pair >> (16 * which));
    _Float16 half;
    memcpy(&half, &bits, 2);
    return float(half);
}

void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const char *where) {
    struct Fragments {
        float a[8], b[4];
    };
    static_assert(sizeof(Fragments) <= MOST_EXCHANGED);
    unsigned turn = run->current->warp_barriers % 2;
    auto of = [&](unsigned lane) -> Fragments & {
        return *reinterpret_cast<Fragments *>(warp().exchanged[turn][lane]);
    };
    for (unsigned n = 0; n < 8; n++) {
        of(lane()).a[n] = half_of(a[n / 2], n % 2);
    }
    for (unsigned n = 0; n < 4; n++) {
        of(lane()).b[n] = half_of(b[n / 2], n % 2);
    }
    warp_barrier(0xffffffffu, where);
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = lane() / 4 + i / 2 * 8, column = lane() % 4 * 2 + i % 2;
        float sum = 0;
        for (unsigned k = 0; k < 16; k++) {
            float w = of(row % 8 * 4 + k % 8 / 2).a[(row / 8 + k / 8 * 2) * 2 + k % 2];
            sum += w * of(column * 4 + k % 8 / 2).b[k / 8 * 2 + k % 2];
        }
        d[i] += sum;
    }
}

} // namespace emulator
