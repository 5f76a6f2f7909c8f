// Products of small tiles by a warp, and conversions of codes to what they take.
#pragma once
#include "words.cuh"

#ifdef EMULATOR
#define MMA_F16(d, a, b) emulator::mma_f16(d, a, b, EMULATOR_HERE)
#define MMA_BF16(d, a, b) emulator::mma_bf16(d, a, b, EMULATOR_HERE)
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

// The same of bf16, from compute capability 8.0 on.
#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#define MMA_BF16(d, a, b) mma_bf16(d, a, b)
#endif
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

// Integers below 1024 in two half-words, less `zero`, as halves: with 0x6400 above them they are 1024 more.
__device__ __forceinline__ u32 integers_as_halves(u32 codes, u32 zero) {
    u32 base = 0x6400 + zero;
    return minus_halves(codes | 0x64006400, base | base << 16);
}
