// Causal attention over keys and values that are kept. A block has one head of one token; its warps take every eighth position
// each, with a sum that is scaled anew when a larger score comes (arXiv 2205.14135), and are joined in the order of their
// numbers. Heads have at most 256 numbers.
// Reference: softmax of scores and the mean of values, in double precision.
// Grid: heads, tokens. Block: 256 threads.
// Registers: 64 at most.
#include "words.cuh"

constexpr u32 WARPS = 8;
// Numbers of a head that a lane has.
constexpr u32 EACH = 8;

// queries and out: of each token, gridDim.x heads. keys and values: of each of their heads, `room` positions. The first token
// is at `position[0]`; `group` heads share keys and values.
extern "C" __global__ void __launch_bounds__(WARPS * 32)
    attention(const float *__restrict__ queries, const float *__restrict__ keys, const float *__restrict__ values,
              float *__restrict__ out, const u32 *__restrict__ position, u32 size, u32 group, u32 room, float scale) {
    __shared__ float tops[WARPS], sums[WARPS], means[WARPS][EACH * 32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u64 query = (u64(blockIdx.y) * gridDim.x + blockIdx.x) * size;
    u64 kept = u64(blockIdx.x / group) * room * size;
    u32 seen = position[0] + blockIdx.y + 1;
    seen = seen < room ? seen : room;
    float own[EACH], mean[EACH];
#pragma unroll
    for (u32 i = 0; i < EACH; i++) {
        own[i] = lane + 32 * i < size ? queries[query + lane + 32 * i] * scale : 0.0f;
        mean[i] = 0;
    }
    float top = __uint_as_float(0xff800000), sum = 0;
    for (u32 p = warp; p < seen; p += WARPS) {
        const float *key = keys + kept + u64(p) * size, *value = values + kept + u64(p) * size;
        float score = 0;
#pragma unroll
        for (u32 i = 0; i < EACH; i++) {
            score = lane + 32 * i < size ? fmaf(own[i], key[lane + 32 * i], score) : score;
        }
        score = warp_sum(score);
        float larger = score > top ? score : top;
        float before = expf(top - larger), now = expf(score - larger);
        sum = sum * before + now;
        top = larger;
#pragma unroll
        for (u32 i = 0; i < EACH; i++) {
            mean[i] = lane + 32 * i < size ? fmaf(now, value[lane + 32 * i], mean[i] * before) : 0.0f;
        }
    }
    if (lane == 0) {
        tops[warp] = top;
        sums[warp] = sum;
    }
#pragma unroll
    for (u32 i = 0; i < EACH; i++) {
        means[warp][lane + 32 * i] = mean[i];
    }
    __syncthreads();
    if (threadIdx.x < size) {
        float largest = tops[0];
        for (u32 n = 1; n < WARPS; n++) {
            largest = tops[n] > largest ? tops[n] : largest;
        }
        float total = 0, number = 0;
        for (u32 n = 0; n < WARPS; n++) {
            float share = expf(tops[n] - largest);
            total += sums[n] * share;
            number += means[n][threadIdx.x] * share;
        }
        out[query + threadIdx.x] = number / total;
    }
}
KERNEL(attention)

// Keep what tokens have: `heads` keys or values of `size` numbers each, to positions from `position[0]` on, as far as there is room.
// Grid: tokens. Block: 256 threads.
extern "C" __global__ void __launch_bounds__(256)
    keep(const float *__restrict__ from, float *__restrict__ kept, const u32 *__restrict__ position, u32 heads, u32 size,
         u32 room) {
    u32 own = position[0] + blockIdx.x;
    for (u32 i = threadIdx.x; i < heads * size && own < room; i += 256) {
        u64 at = (u64(i / size) * room + own) * size + i % size;
        kept[at] = from[u64(blockIdx.x) * heads * size + i];
    }
}
KERNEL(keep)
