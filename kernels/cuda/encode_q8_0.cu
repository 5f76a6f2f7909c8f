// Singles to q8_0, a warp for each block of 32 values.
// Reference: `Codec::encode` of q8_0, byte for byte; the first value that cannot be encoded is told as it tells of it.
// Grid: one block for each 8 blocks of values. Block: 256 threads.
// Registers: 24 at most.
#include "words.cuh"

constexpr u32 WARPS = 8;

// The largest of the warp.
__device__ __forceinline__ float warp_max(float own) {
    for (u32 with = 16; with > 0; with /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, own, with);
        own = other > own ? other : own;
    }
    return own;
}

// True in every lane if it is in one.
__device__ __forceinline__ bool warp_any(bool own) {
    u32 any = own;
    for (u32 with = 16; with > 0; with /= 2) {
        any |= __shfl_xor_sync(0xffffffffu, any, with);
    }
    return any;
}

// Blocks with a value that is not finite, or whose scale has no place in half precision, come out as zeros. bad[n] says of
// block n: 0 sound, 1 not finite, 2 too large.
extern "C" __global__ void __launch_bounds__(WARPS * 32)
    encode_q8_0(const float *__restrict__ values, u8 *__restrict__ blocks, u8 *__restrict__ bad, u64 count) {
    u32 lane = threadIdx.x % 32;
    u64 block = u64(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (block >= count) {
        return;
    }
    float x = values[block * 32 + lane];
    bool finite = !warp_any(!is_finite(x));
    float d = (finite ? warp_max(magnitude(x)) : 0.0f) / 127.0f;
    u16 stored = half_bits(d);
    bool fits = is_finite(half_value(stored));
    float inverse = 1.0f / d;
    inverse = is_finite(inverse) ? inverse : 0.0f;
    // Half away from zero: the largest float below one half does not push 0.49999997 over the edge.
    float scaled = x * inverse;
    float half = __uint_as_float(__float_as_uint(0.49999997f) | (__float_as_uint(scaled) & 0x80000000));
    int code = finite && fits ? int(scaled + half) : 0;
    u8 *out = blocks + block * 34;
    out[2 + lane] = u8(code);
    if (lane == 0) {
        stored = finite && fits ? stored : 0;
        out[0] = u8(stored);
        out[1] = u8(stored >> 8);
        bad[block] = !finite ? 1 : !fits ? 2 : 0;
    }
}
KERNEL(encode_q8_0)
