// Causal attention over keys and values that are kept. A block has one head of some tokens; lanes in groups take a position each,
// with a sum that is scaled anew when a larger score comes (arXiv 2205.14135). What groups, warps and blocks along z found is
// joined in the order of their numbers. Heads have an even number of numbers, at most 256.
// Reference: softmax of scores and the mean of values, in double precision.
// Grid: heads, tokens by as many as the kernel's name says, parts of the positions. Block: 256 threads.
// Registers: 128 at most.
#include "words.cuh"

constexpr u32 WARPS = 8;
// Pairs of numbers of a head that a lane has.
constexpr u32 EACH = 4;
// Of positions in a part, a multiple.
constexpr u32 TOGETHER = 32;

// What some positions give to a query: their largest score, sums of powers of two relative to it, and of values by these.
struct Seen {
    float top, sum;
    float2 values[EACH];
};

// Of what has the largest score `top`, where `largest` is that of all; there may be none yet.
__device__ __forceinline__ float share(float top, float largest) { return top == largest ? 1.0f : exp2f(top - largest); }

__device__ __forceinline__ void scale(float2 &pair, float by) { pair = {pair.x * by, pair.y * by}; }

// Join those of the lanes `with` further.
__device__ __forceinline__ void join_lanes(Seen &seen, u32 with) {
    float other = __shfl_xor_sync(0xffffffffu, seen.top, with), largest = other > seen.top ? other : seen.top;
    float by = share(seen.top, largest);
    seen.top = largest;
    seen.sum *= by;
    seen.sum += __shfl_xor_sync(0xffffffffu, seen.sum, with);
#pragma unroll
    for (u32 i = 0; i < EACH; i++) {
        scale(seen.values[i], by);
        seen.values[i].x += __shfl_xor_sync(0xffffffffu, seen.values[i].x, with);
        seen.values[i].y += __shfl_xor_sync(0xffffffffu, seen.values[i].y, with);
    }
}

// A position with this score and value.
__device__ __forceinline__ void add(Seen &seen, float score, const float2 (&value)[EACH]) {
    float largest = score > seen.top ? score : seen.top;
    float before = share(seen.top, largest), now = exp2f(score - largest);
    seen.top = largest;
    seen.sum = fmaf(seen.sum, before, now);
#pragma unroll
    for (u32 i = 0; i < EACH; i++) {
        scale(seen.values[i], before);
        seen.values[i] = {fmaf(now, value[i].x, seen.values[i].x), fmaf(now, value[i].y, seen.values[i].y)};
    }
}

// queries: of each of `tokens` tokens, gridDim.x heads. keys and values: of each of their heads, `room` positions. The first token
// is at `position[0]`; `group` heads share keys and values. out: as queries, or, of several parts, of each one the largest score,
// the sum, and sums of values. factor: of products, for exponents of two.
template <u32 LANES, u32 TOKENS>
__device__ __forceinline__ void attention(const float *queries, const float *keys, const float *values, float *out,
                                          const u32 *position, u32 tokens, u32 size, u32 group, u32 room, float factor) {
    constexpr u32 GROUPS = 32 / LANES;
    __shared__ float tops[TOKENS][WARPS], sums[TOKENS][WARPS];
    __shared__ float2 means[TOKENS][WARPS][LANES * EACH];
    u32 lane = threadIdx.x % LANES, warp = threadIdx.x / 32, first_token = blockIdx.y * TOKENS;
    u32 pairs = size / 2, part = blockIdx.z, parts = gridDim.z;
    auto load = [&](float2 (&to)[EACH], const float *from, float times) {
#pragma unroll
        for (u32 i = 0; i < EACH; i++) {
            u32 n = lane + LANES * i;
            to[i] = n < pairs ? reinterpret_cast<const float2 *>(from)[n] : float2{0, 0};
            scale(to[i], times);
        }
    };
    u32 last = tokens - first_token < TOKENS ? tokens - first_token : TOKENS;
    u32 before = position[0] + first_token, all = before + last < room ? before + last : room;
    u32 share_of_part = (all + parts * TOGETHER - 1) / (parts * TOGETHER) * TOGETHER;
    u32 first = part * share_of_part, end = first + share_of_part < all ? first + share_of_part : all;
    float2 own[TOKENS][EACH];
    Seen seen[TOKENS];
#pragma unroll
    for (u32 t = 0; t < TOKENS; t++) {
        u32 token = first_token + (t < last ? t : 0);
        load(own[t], queries + (u64(token) * gridDim.x + blockIdx.x) * size, factor);
        seen[t] = {__uint_as_float(0xff800000), 0, {}};
    }
    u64 kept = u64(blockIdx.x / group) * room * size;
    for (u32 p = first + warp * GROUPS; p < end; p += WARPS * GROUPS) {
        u32 at = p + threadIdx.x % 32 / LANES;
        u64 from = kept + u64(at < end ? at : p) * size;
        float2 key[EACH], value[EACH];
        load(key, keys + from, 1);
        load(value, values + from, 1);
#pragma unroll
        for (u32 t = 0; t < TOKENS; t++) {
            float score = 0;
#pragma unroll
            for (u32 i = 0; i < EACH; i++) {
                score = fmaf(own[t][i].y, key[i].y, fmaf(own[t][i].x, key[i].x, score));
            }
#pragma unroll
            for (u32 with = LANES / 2; with > 0; with /= 2) {
                score += __shfl_xor_sync(0xffffffffu, score, with);
            }
            if (at < end && at <= before + t) {
                add(seen[t], score, value);
            }
        }
    }
#pragma unroll
    for (u32 t = 0; t < TOKENS; t++) {
#pragma unroll
        for (u32 with = LANES; with < 32; with *= 2) {
            join_lanes(seen[t], with);
        }
        if (threadIdx.x % 32 < LANES) {
#pragma unroll
            for (u32 i = 0; i < EACH; i++) {
                means[t][warp][lane + LANES * i] = seen[t].values[i];
            }
        }
        if (threadIdx.x % 32 == 0) {
            tops[t][warp] = seen[t].top;
            sums[t][warp] = seen[t].sum;
        }
    }
    __syncthreads();
    for (u32 n = threadIdx.x; n < last * size; n += WARPS * 32) {
        u32 t = n / size, i = n % size;
        float largest = tops[t][0];
        for (u32 w = 1; w < WARPS; w++) {
            largest = tops[t][w] > largest ? tops[t][w] : largest;
        }
        float sum = 0, number = 0;
        for (u32 w = 0; w < WARPS; w++) {
            float by = share(tops[t][w], largest);
            float2 pair = means[t][w][i / 2];
            sum = fmaf(sums[t][w], by, sum);
            number = fmaf(i % 2 == 0 ? pair.x : pair.y, by, number);
        }
        u64 query = u64(first_token + t) * gridDim.x + blockIdx.x;
        if (parts == 1) {
            out[query * size + i] = number / sum;
        } else {
            float *to = out + (query * parts + part) * (size + 2);
            to[2 + i] = number;
            if (i == 0) {
                to[0] = largest;
                to[1] = sum;
            }
        }
    }
}

#define ATTENTION(LANES, TOKENS)                                                                                       \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                           \
        attention_##LANES##_##TOKENS(const float *__restrict__ queries, const float *__restrict__ keys,                \
                                     const float *__restrict__ values, float *__restrict__ out,                        \
                                     const u32 *__restrict__ position, u32 tokens, u32 size, u32 group, u32 room,      \
                                     float factor) {                                                                   \
        attention<LANES, TOKENS>(queries, keys, values, out, position, tokens, size, group, room, factor);             \
    }                                                                                                                  \
    KERNEL(attention_##LANES##_##TOKENS)

// Lanes for heads of at most eight times as many numbers; tokens: of a block.
ATTENTION(8, 1)
ATTENTION(16, 1)
ATTENTION(32, 1)
ATTENTION(8, 4)
ATTENTION(16, 4)
ATTENTION(32, 4)

// Join the parts of each query.
// Grid: queries. Block: 256 threads.
extern "C" __global__ void __launch_bounds__(WARPS * 32)
    join_parts(const float *__restrict__ found, float *__restrict__ out, u32 size, u32 parts) {
    found += u64(blockIdx.x) * parts * (size + 2);
    float largest = found[0];
    for (u32 n = 1; n < parts; n++) {
        float top = found[n * (size + 2)];
        largest = top > largest ? top : largest;
    }
    if (threadIdx.x < size) {
        float sum = 0, number = 0;
        for (u32 n = 0; n < parts; n++) {
            const float *of = found + n * (size + 2);
            float by = share(of[0], largest);
            sum = fmaf(of[1], by, sum);
            number = fmaf(of[2 + threadIdx.x], by, number);
        }
        out[u64(blockIdx.x) * size + threadIdx.x] = number / sum;
    }
}
KERNEL(join_parts)

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
