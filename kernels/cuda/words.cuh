// Words that all kernels use. They mean the same to nvcc, NVRTC and the emulator of host/; no header of CUDA is needed.
#pragma once
#ifdef EMULATOR
#include "host/emulator.h"
#else
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#define KERNEL(name)
#endif

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Two bytes at any address, little-endian.
__device__ __forceinline__ u16 pair_at(const u8 *at) { return u16(at[0] | at[1] << 8); }

// Four bytes at any address, little-endian.
__device__ __forceinline__ u32 word_at(const u8 *at) { return pair_at(at) | u32(pair_at(at + 2)) << 16; }

// The number with these bits of half precision.
__device__ __forceinline__ float half_value(u16 bits) {
#ifdef EMULATOR
    u32 sign = u32(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 0x3ff;
    if (exponent == 0) {
        float steps = float(mantissa) * 0x1p-24f;
        return __uint_as_float(__float_as_uint(steps) | sign);
    }
    u32 wide = exponent == 31 ? 255 : exponent + 112;
    return __uint_as_float(sign | wide << 23 | mantissa << 13);
#else
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#endif
}

__device__ __forceinline__ float half_at(const u8 *at) { return half_value(pair_at(at)); }

// The bits of the nearest number of half precision, half to even; infinity past its range.
__device__ __forceinline__ u16 half_bits(float value) {
#ifdef EMULATOR
    _Float16 half = _Float16(value);
    u16 bits;
    memcpy(&bits, &half, 2);
    return bits;
#else
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#endif
}

__device__ __forceinline__ float bf16_value(u16 bits) { return __uint_as_float(u32(bits) << 16); }

__device__ __forceinline__ bool is_finite(float value) { return (__float_as_uint(value) & 0x7f800000) != 0x7f800000; }

__device__ __forceinline__ float magnitude(float value) { return __uint_as_float(__float_as_uint(value) & 0x7fffffff); }

// The sum over the warp, in every lane.
__device__ __forceinline__ float warp_sum(float own) {
#pragma unroll
    for (u32 with = 16; with > 0; with /= 2) {
        own += __shfl_xor_sync(0xffffffffu, own, with);
    }
    return own;
}
