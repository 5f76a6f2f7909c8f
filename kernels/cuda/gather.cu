// Rows of a table by their numbers, as they are stored.
// Reference: the rows.
// Grid: a block for each number. Block: 256 threads.
// Registers: 32 at most.
#include "words.cuh"

constexpr u32 THREADS = 256;

// table: `rows` rows of `length` bytes. A number that it does not have gives zeros.
extern "C" __global__ void __launch_bounds__(THREADS)
    gather(const u8 *__restrict__ table, const u32 *__restrict__ numbers, u8 *__restrict__ out, u64 length, u32 rows) {
    u32 row = numbers[blockIdx.x];
    for (u64 i = threadIdx.x; i < length; i += THREADS) {
        out[blockIdx.x * length + i] = row < rows ? table[row * length + i] : 0;
    }
}
KERNEL(gather)
