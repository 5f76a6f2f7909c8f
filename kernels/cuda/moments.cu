// What calibration keeps of inputs: sums of squares of each column, and the second moments X^T X of all pairs of columns.
// Reference: squares in singles, added up in double precision row by row, bit for bit; and products in double precision.
// Grid: a block for each 256 columns; a block for each pair of 32 columns. Block: 256 threads.
// Registers: 64 at most.
#include "words.cuh"

constexpr u32 THREADS = 256;

// sums[c] += x[r][c]^2 for all rows.
extern "C" __global__ void __launch_bounds__(THREADS)
    add_squares(const float *__restrict__ x, double *__restrict__ sums, u32 rows, u32 columns) {
    u32 column = blockIdx.x * THREADS + threadIdx.x;
    if (column < columns) {
        double sum = sums[column];
        for (u32 r = 0; r < rows; r++) {
            float value = x[u64(r) * columns + column];
            sum += double(value * value);
        }
        sums[column] = sum;
    }
}
KERNEL(add_squares)

constexpr u32 TILE = 32;
// Rows that are in shared memory at a time.
constexpr u32 ROWS = 16;

// moments[a][b] += x[r][a] * x[r][b] for all rows; a thread has two by two of a tile's. Products are added up in singles for
// ROWS rows, and those sums in double precision. Tiles above the diagonal are written to both sides of it.
extern "C" __global__ void __launch_bounds__(THREADS)
    add_products(const float *__restrict__ x, double *__restrict__ moments, u32 rows, u32 columns) {
    __shared__ float left[ROWS][TILE], right[ROWS][TILE];
    u32 a = blockIdx.y * TILE, b = blockIdx.x * TILE;
    if (b < a) {
        return;
    }
    u32 i = threadIdx.x / 16 * 2, j = threadIdx.x % 16 * 2;
    double sums[2][2] = {{0, 0}, {0, 0}};
    for (u32 first = 0; first < rows; first += ROWS) {
        for (u32 n = threadIdx.x; n < ROWS * TILE; n += THREADS) {
            u32 r = first + n / TILE, c = n % TILE;
            left[n / TILE][c] = r < rows && a + c < columns ? x[u64(r) * columns + a + c] : 0.0f;
            right[n / TILE][c] = r < rows && b + c < columns ? x[u64(r) * columns + b + c] : 0.0f;
        }
        __syncthreads();
        float some[2][2] = {{0, 0}, {0, 0}};
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) {
#pragma unroll
            for (u32 p = 0; p < 2; p++) {
#pragma unroll
                for (u32 q = 0; q < 2; q++) {
                    some[p][q] = fmaf(left[r][i + p], right[r][j + q], some[p][q]);
                }
            }
        }
#pragma unroll
        for (u32 p = 0; p < 2; p++) {
#pragma unroll
            for (u32 q = 0; q < 2; q++) {
                sums[p][q] += double(some[p][q]);
            }
        }
        __syncthreads();
    }
    for (u32 p = 0; p < 2; p++) {
        for (u32 q = 0; q < 2; q++) {
            u32 row = a + i + p, column = b + j + q;
            if (row < columns && column < columns) {
                double sum = moments[u64(row) * columns + column] + sums[p][q];
                moments[u64(row) * columns + column] = sum;
                if (a != b) {
                    moments[u64(column) * columns + row] = sum;
                }
            }
        }
    }
}
KERNEL(add_products)
