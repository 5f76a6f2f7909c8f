// Rotary embedding: the pairs (i, i + size / 2) of each head are turned by the angles of their token's position.
// Reference: a cos - b sin and b cos + a sin in singles, bit for bit.
// Grid: tokens. Block: 256 threads.
// Registers: 40 at most.
#include "words.cuh"

constexpr u32 THREADS = 256;

// x: of each token, `heads` heads of `size` numbers. The first token is at `position[0]`. turns: of each of `room`
// positions, size / 2 cosines and as many sines; further positions stay as they are.
extern "C" __global__ void __launch_bounds__(THREADS)
    rope(float *__restrict__ x, const float *__restrict__ turns, const u32 *__restrict__ position, u32 heads, u32 size,
         u32 room) {
    u32 half = size / 2, at_position = position[0] + blockIdx.x;
    const float *own = turns + u64(at_position) * size;
    float *token = x + u64(blockIdx.x) * heads * size;
    for (u32 i = threadIdx.x; i < heads * half && at_position < room; i += THREADS) {
        float *head = token + i / half * size;
        u32 at = i % half;
        float a = head[at], b = head[at + half], cosine = own[at], sine = own[at + half];
        head[at] = a * cosine - b * sine;
        head[at + half] = b * cosine + a * sine;
    }
}
KERNEL(rope)
