// Products of small tiles by a warp, and conversions of codes to what they take.
#pragma once
#include "words.cuh"

#ifdef EMULATOR
#define MMA_F16(d, a, b) emulator::mma_f16(d, a, b, EMULATOR_HERE)
#else
// D (16 x 8, singles) += A (16 x 16, halves) B (16 x 8, halves). Lane 4 g + q holds of A: row g in a[0] and a[2], row g + 8 in a[1]
// and a[3], columns 2 q and 2 q + 1 in a[0] and a[1], and 8 further in a[2] and a[3]; of B: column g, rows 2 q and 2 q + 1 in
// b[0], and 8 further in b[1]; of D: row g in d[0] and d[1], row g + 8 in d[2] and d[3], columns 2 q and 2 q + 1.
__device__ __forceinline__ void mma_f16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif __CUDA_ARCH__ >= 750
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#else
#error "kernels need compute capability 7.5"
#endif
}
#define MMA_F16(d, a, b) mma_f16(d, a, b)
#endif

// a - b, and a * b, of two halves each.
__device__ __forceinline__ u32 minus_halves(u32 a, u32 b) {
#ifdef EMULATOR
    u32 low = half_bits(half_value(u16(a)) - half_value(u16(b)));
    return low | u32(half_bits(half_value(u16(a >> 16)) - half_value(u16(b >> 16)))) << 16;
#else
    u32 r;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
#endif
}
__device__ __forceinline__ u32 times_halves(u32 a, u32 b) {
#ifdef EMULATOR
    u32 low = half_bits(half_value(u16(a)) * half_value(u16(b)));
    return low | u32(half_bits(half_value(u16(a >> 16)) * half_value(u16(b >> 16)))) << 16;
#else
    u32 r;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
#endif
}

// a * b + c of two halves each, rounded once.
__device__ __forceinline__ u32 fma_halves(u32 a, u32 b, u32 c) {
#ifdef EMULATOR
    u32 low = half_bits(fmaf(half_value(u16(a)), half_value(u16(b)), half_value(u16(c))));
    return low | u32(half_bits(fmaf(half_value(u16(a >> 16)), half_value(u16(b >> 16)), half_value(u16(c >> 16))))) << 16;
#else
    u32 r;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
#endif
}

// (a & b) | c: one instruction, which compilers do not find with two constants.
__device__ __forceinline__ u32 and_or(u32 a, u32 b, u32 c) {
#ifdef EMULATOR
    return a & b | c;
#else
    u32 r;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
#endif
}

// Halves of 1024 in both half-words: integers below that are added by writing them into the lower bits.
constexpr u32 THOUSANDS = 0x64006400;

// `sum` - 1024 - `zero`, and (`sum` - 1024) / 16 - `zero`, both exact.
__device__ __forceinline__ u32 less(u32 sum, u32 zero) { return minus_halves(sum, THOUSANDS + (zero | zero << 16)); }
__device__ __forceinline__ u32 sixteenth_less(u32 sum, u32 zero) {
    // 1/16, and -64 - zero: of numbers from 64 to 128 the last bit is 1/16.
    return fma_halves(sum, 0x2c002c00, 0xd400d400 + ((zero | zero << 16) << 4));
}
