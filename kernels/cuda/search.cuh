// Searches for scales as src/format/search makes them, a sub-block of 32 values in each thread: the same operations on singles in
// the same order, so that codes and scales are the CPU's.
#pragma once
#include "words.cuh"

constexpr u32 SUB = 32;

// Like the CPU's, these give the second where one is NaN.
__device__ __forceinline__ float larger(float a, float b) { return a > b ? a : b; }
__device__ __forceinline__ float smaller(float a, float b) { return a < b ? a : b; }
__device__ __forceinline__ float clamp(float v, float low, float high) { return smaller(larger(v, low), high); }
// To the nearest integer, half to even; below 2^22.
__device__ __forceinline__ float nearest(float v) { return (v + 12582912.0f) - 12582912.0f; }
// a / b, or 0 where b is not above 0.
__device__ __forceinline__ float ratio(float a, float b) { return 0.0f < b ? a / b : 0.0f; }
// 1 / v, or 0 where that is not finite.
__device__ __forceinline__ float inverse_of(float v) {
    float inverse = 1.0f / v;
    return is_finite(inverse) ? inverse : 0.0f;
}

// Values of a sub-block, and what an error of each costs.
struct Values {
    float x[SUB], w[SUB];

    __device__ void load(const float *values) {
#pragma unroll
        for (u32 k = 0; k < SUB; k++) {
            x[k] = values[k];
        }
    }

    __device__ bool finite() const {
        bool all = true;
#pragma unroll
        for (u32 k = 0; k < SUB; k++) {
            all = all && is_finite(x[k]);
        }
        return all;
    }

    __device__ void clear() {
#pragma unroll
        for (u32 k = 0; k < SUB; k++) {
            x[k] = 0;
        }
    }

    // Weights as they are given, or 1; the largest of them.
    __device__ float weigh(const float *weights) {
        float top = 1.17549435e-38f;
#pragma unroll
        for (u32 k = 0; k < SUB; k++) {
            w[k] = weights ? weights[k] : 1.0f;
            top = larger(w[k], top);
        }
        return top;
    }

    // The largest weight becomes 1, and none is too small to count.
    __device__ void scale_weights(float top) {
        float unit = 1.0f / top;
#pragma unroll
        for (u32 k = 0; k < SUB; k++) {
            w[k] = larger(w[k] * unit, 0x1p-20f);
        }
    }
};

// Where the weights of a sub-block begin: they repeat row by row.
__device__ __forceinline__ const float *weights_of(const float *weights, u64 columns, u64 first) {
    return columns == 0 ? nullptr : weights + first % columns;
}

// A sub-block's codes, four bits each, in the order of its values.
struct Codes {
    u32 words[4];
    __device__ void clear() { words[0] = words[1] = words[2] = words[3] = 0; }
    __device__ void set(u32 k, u32 code) { words[k / 8] |= code << (4 * (k % 8)); }
    __device__ u32 get(u32 k) const { return words[k / 8] >> (4 * (k % 8)) & 15; }
};

// A square that is lost must be a number.
__device__ __forceinline__ bool is_lost(float x, float y) { return !is_finite((y - x) * (y - x)); }
