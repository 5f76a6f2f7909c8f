// Runs kernels as it is told on stdin, and gives the buffers back on stdout; numbers are little-endian.
//
// A request: length and text of the kernel's name; grid x, y, z; block x, y, z; bytes of shared memory; order; seed; number
// of arguments; for each argument its kind (0: a value, 1: a buffer), its length and its bytes. All but texts and bytes are
// u32, lengths of arguments u64. The answer has the bytes of all buffers, and one more, so that there is one without buffers.
#include "emulator.h"
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

static bool take(void *to, size_t bytes) { return fread(to, 1, bytes, stdin) == bytes; }

static unsigned number() {
    unsigned value;
    if (!take(&value, 4)) {
        emulator::fail("a request ends early:", "a number");
    }
    return value;
}

struct Argument {
    bool is_buffer;
    // Of its exact size, so that its bounds are seen.
    char *bytes;
    uint64_t length;
};

int main() {
    unsigned length;
    while (take(&length, 4)) {
        std::string name(length, 0);
        take(&name[0], length);
        unsigned words[9];
        for (unsigned &word : words) {
            word = number();
        }
        std::vector<Argument> arguments(number());
        std::vector<void *> values;
        for (Argument &argument : arguments) {
            argument.is_buffer = number() == 1;
            if (!take(&argument.length, 8)) {
                emulator::fail("a request ends early:", "a length");
            }
            argument.bytes = static_cast<char *>(malloc(argument.length));
            if (!take(argument.bytes, argument.length)) {
                emulator::fail("a request ends early:", "bytes");
            }
        }
        for (Argument &argument : arguments) {
            values.push_back(argument.is_buffer ? static_cast<void *>(&argument.bytes) : argument.bytes);
        }
        const emulator::Kernel *kernel = emulator::find(name.c_str());
        if (!kernel) {
            emulator::fail("there is no kernel", name.c_str());
        }
        dim3 grid{words[0], words[1], words[2]}, block{words[3], words[4], words[5]};
        emulator::launch(*kernel, grid, block, words[6], values.data(), emulator::Order(words[7]), words[8]);
        for (Argument &argument : arguments) {
            if (argument.is_buffer) {
                fwrite(argument.bytes, 1, argument.length, stdout);
            }
            free(argument.bytes);
        }
        fputc(0, stdout);
        fflush(stdout);
    }
}
