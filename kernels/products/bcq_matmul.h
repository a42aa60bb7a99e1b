// The product of binary codes by look-up tables: Y[n, rows] = X[n, columns] W^T + bias, X in float32, W as in
// bcq_matrix.h.
//
// Contract, the same for every instruction set. A column x of X is quantised to L steps of its maximum, as many as a
// window of 512 inputs (those from a multiple of 512 on) allows, whose magnitudes must add up to less than 2^16:
//
//     v[c] = rint(x[c] * (8191 / max|x|)), all zeros if max|x| < 1e-30
//     w = the largest sum of |v[c]| over a window
//     L = 8191 if w <= 65000, else 8191 * (65000 / w)
//     s = max|x| / L;  xq[c] = rint(x[c] * (L / max|x|))
//
// Then, in float32 and without fused multiply-add,
//
//     t = 0;  for each group g, for each plane i:  t = t + alpha[i, g, r] * float(sum_{c in g} B_i[r, c] * xq[c])
//     y[r] = t * s + bias[r]
//
// The inner sum is an integer, so its order is free, and every implementation returns the same bits. |xq| <= 8191
// makes every signed sum of four inputs an int16; any sum over a window is one of 17 bits, of which its parity is
// known, so 16 bits hold it (subset_sums_avx2.h); int32 sums hold for columns <= 2^17.
//
// Error against exact arithmetic: |dy[r]| <= s / 2 * columns * sum_i |alpha[i, r]| + float32 rounding, in practice 0.1
// to 0.2 % of |y| for random codes and 256 or more columns; where x became zeros, all of y[r], which is below 1e-30 *
// columns * sum_i |alpha[i, r]|.
//
// Shapes and alignment: X is row-major with any stride, Y likewise; codes and scales need the alignment of their type
// only (unaligned loads cost nothing measurable here). X and Y do not overlap.

#ifndef SUB3_KERNELS_BCQ_MATMUL_H_
#define SUB3_KERNELS_BCQ_MATMUL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/products/bcq_matrix.h"

namespace sub3 {

constexpr float kMaxQuantized = 8191;  // four of them make an int16
constexpr float kSmallestMaximum = 1e-30f;
constexpr size_t kWindowColumns = 512;
constexpr int32_t kMaxWindowSum = 65000;  // with half a step for each input, twice, less than 2^16

// L, where the magnitudes of 8191 steps add up to window_sum in the largest window.
inline float Steps(int32_t window_sum) {
  if (window_sum <= kMaxWindowSum) return kMaxQuantized;
  return kMaxQuantized * (static_cast<float>(kMaxWindowSum) / static_cast<float>(window_sum));
}

// One of several products of the same X: Q, K and V share the quantised column and its tables. Only the rows [begin,
// end) of W are multiplied, and only their part of Y is written; both are multiples of 16, or the number of rows.
struct Product {
  const BcqMatrix* weight;
  const float* bias;  // [rows] or null
  float* y;           // [n, rows] with rows y_stride apart
  size_t y_stride;
  size_t begin, end;

  // The part of a segment within [begin, end); empty if its end is not above its begin.
  BcqSegment Clip(BcqSegment segment) const {
    segment.begin = std::max(segment.begin, begin);
    segment.end = std::min(segment.end, end);
    return segment;
  }
};

// Computes all products of x, n rows x_stride apart, `columns` each. scratch: 64-byte aligned.
using BcqMatmulFunction = void(const Product* products, size_t num_products, const float* x, size_t x_stride,
                               size_t columns, size_t n, void* scratch);

// Writes row `row` of the matrix as float32 [columns]: sum_i alpha_i * B_i, plane by plane. The embedding look-up.
using DequantizeRowFunction = void(const BcqMatrix& matrix, size_t row, float* out);

constexpr size_t kSubsetColumns = 14;  // of X from which on subset sums pay
constexpr size_t kSubsetSums = 1024;   // of rows and planes that are kept at a time

// Bytes of scratch memory for subset sums of 32 columns: the arrays of subset_sums_avx2.h.
constexpr size_t SubsetScratchBytes(size_t columns) {
  constexpr size_t kLanes = 32, kEntries = 256;
  const size_t width = NumChunks(columns) * kChunkColumns, windows = (width + kWindowColumns - 1) / kWindowColumns;
  const size_t totals = windows > 1 ? kSubsetSums * kLanes * sizeof(int32_t) : 0;
  const size_t sums = std::max(kSubsetSums * kLanes, 8 * width) * sizeof(int16_t);
  return (kEntries + width + windows) * kLanes * sizeof(int16_t) + 2 * kLanes * sizeof(int32_t) + totals + sums;
}

constexpr size_t kLeastTileTokens = 4;    // columns of X from which on tiles pay
constexpr size_t kTileTokensAtOnce = 24;  // columns of X that share one unpacking of the codes
constexpr size_t kUnpackedBytes = 8'192;  // of two windows of codes

// Bytes of scratch memory for tiles of n columns: unpacked codes, both halves of the inputs, a column of int16.
constexpr size_t TileScratchBytes(size_t columns, size_t n) {
  const size_t width = (NumChunks(columns) + 1) / 2 * 2 * kChunkColumns;
  return kUnpackedBytes + 2 * (std::min(n, kTileTokensAtOnce) + 1) * width;
}

// Bytes of scratch memory for any number of products of n columns of `columns` inputs: the tables of the widest
// implementation, two columns of 288 bytes a chunk, and a padded column of int16; or subset sums; or tiles.
constexpr size_t BcqMatmulScratchBytes(size_t columns, size_t n) {
  size_t most = NumChunks(columns) * (size_t{2} * 288 + kChunkColumns * sizeof(int16_t)) + 64;
  if (n >= kSubsetColumns) most = std::max(most, SubsetScratchBytes(columns));
  return n < kLeastTileTokens ? most : std::max(most, TileScratchBytes(columns, n));
}

namespace scalar {
BcqMatmulFunction BcqMatmul;
DequantizeRowFunction DequantizeRow;
}  // namespace scalar
namespace avx2 {
BcqMatmulFunction BcqMatmul;
DequantizeRowFunction DequantizeRow;
}  // namespace avx2
namespace avx512 {
BcqMatmulFunction BcqMatmul;
DequantizeRowFunction DequantizeRow;
}  // namespace avx512
namespace amx {
BcqMatmulFunction BcqMatmul;
}
namespace neon {
BcqMatmulFunction BcqMatmul;
DequantizeRowFunction DequantizeRow;
}  // namespace neon

}  // namespace sub3

#endif  // SUB3_KERNELS_BCQ_MATMUL_H_
