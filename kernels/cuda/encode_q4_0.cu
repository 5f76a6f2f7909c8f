// Singles to q4_0, a thread for each block of 32 values.
// Reference: `Codec::encode` of q4_0, byte for byte, for both efforts, with and without importance.
// Grid: a block for each 256 blocks of values. Block: 256 threads.
// Registers: 128 at most.
#include "search.cuh"

// Where the value of largest magnitude is tried to land.
__device__ const float FAST[4] = {-8.82f, -8.07f, 7.09f, 9.54f};
__device__ const float BEST[8] = {-10.9f, -9.31f, -8.45f, -7.81f, 6.2f, 7.04f, 8.71f, 11.0f};
// And around the best of these.
__device__ const float AROUND[4] = {-0.93f, -0.22f, 0.16f, 0.42f};

struct Best {
    float xq, qq, gain, image;
};

__device__ __forceinline__ void offer(Best &best, const Values &of, float inverse, float image) {
    float xq = 0, qq = 0;
#pragma unroll
    for (u32 k = 0; k < SUB; k++) {
        float q = nearest(clamp(of.x[k] * inverse, -8.0f, 7.0f));
        xq += of.w[k] * of.x[k] * q;
        qq += of.w[k] * q * q;
    }
    float gain = ratio(xq * xq, qq);
    if (best.gain < gain) {
        best.xq = xq;
        best.qq = qq;
        best.image = image;
    }
    best.gain = larger(gain, best.gain);
}

// The scale that loses least of those that are tried.
__device__ __forceinline__ float searched(const Values &of, u32 best_effort) {
    float low = 0, high = 0;
#pragma unroll
    for (u32 k = 0; k < SUB; k++) {
        low = smaller(of.x[k], low);
        high = larger(of.x[k], high);
    }
    float unit = inverse_of(0.0f - low < high ? high : low);
    Best best = {0, 0, -1, 0};
    for (u32 n = 0; n < (best_effort ? 8 : 4); n++) {
        float image = 0.0f + (best_effort ? BEST[n] : FAST[n]);
        offer(best, of, unit * image, image);
    }
    float centre = best.image;
    for (u32 n = 0; n < (best_effort ? 4 : 0); n++) {
        float image = centre + AROUND[n];
        offer(best, of, unit * image, image);
    }
    return ratio(best.xq, best.qq);
}

// The scale of the format's reference: the value of largest magnitude, the first among equals, becomes -8.
__device__ __forceinline__ float plain(const Values &of) {
    float low = of.x[0], high = of.x[0];
#pragma unroll
    for (u32 k = 1; k < SUB; k++) {
        low = smaller(of.x[k], low);
        high = larger(of.x[k], high);
    }
    float largest = high > -low ? high : low;
    if (high == -low) {
        largest = 0;
        bool found = false;
#pragma unroll
        for (u32 k = 0; k < SUB; k++) {
            bool here = !found && magnitude(of.x[k]) == high;
            largest = here ? of.x[k] : largest;
            found = found || here;
        }
    }
    return largest / -8.0f;
}

// effort: 0 the reference's rounding, 1 fast, 2 best. weights: of `columns` columns, none where that is 0. bad[n] says of block n:
// 0 sound, 1 not finite, 2 too large; such blocks are zeros.
extern "C" __global__ void __launch_bounds__(256)
    encode_q4_0(const float *__restrict__ values, const float *__restrict__ weights, u8 *__restrict__ blocks,
                u8 *__restrict__ bad, u64 count, u64 columns, u32 effort) {
    u64 block = u64(blockIdx.x) * 256 + threadIdx.x;
    if (block >= count) {
        return;
    }
    Values own;
    own.load(values + block * SUB);
    bool finite = own.finite();
    if (!finite) {
        own.clear();
    }
    u16 stored;
    Codes codes;
    codes.clear();
    bool lost = false;
    if (effort == 0) {
        float d = plain(own), inverse = inverse_of(d);
        stored = half_bits(d);
        lost = !is_finite(half_value(stored));
#pragma unroll
        for (u32 k = 0; k < SUB; k++) {
            codes.set(k, lost ? 0 : u32(int(smaller(own.x[k] * inverse + 8.5f, 15.0f))));
        }
    } else {
        own.scale_weights(own.weigh(weights_of(weights, columns, block * SUB)));
        stored = half_bits(searched(own, effort == 2));
        float inverse = inverse_of(half_value(stored));
#pragma unroll
        for (u32 k = 0; k < SUB; k++) {
            codes.set(k, u32(int(nearest(clamp(own.x[k] * inverse, -8.0f, 7.0f)) + 8.0f)));
        }
    }
    float d = half_value(stored);
#pragma unroll
    for (u32 k = 0; k < SUB; k++) {
        lost = lost || is_lost(own.x[k], d * (float(codes.get(k)) - 8.0f));
    }
    bool sound = finite && !lost;
    u8 *out = blocks + block * 18;
    out[0] = sound ? u8(stored) : 0;
    out[1] = sound ? u8(stored >> 8) : 0;
#pragma unroll
    for (u32 k = 0; k < SUB / 2; k++) {
        out[2 + k] = sound ? u8(codes.get(k) | codes.get(k + SUB / 2) << 4) : 0;
    }
    bad[block] = !finite ? 1 : lost ? 2 : 0;
}
KERNEL(encode_q4_0)
