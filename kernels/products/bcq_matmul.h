// The product of binary codes with few columns, by look-up tables: Y[n, rows] = X[n, columns] W^T + bias, X in float32,
// W as in bcq_matrix.h.
//
// Contract, the same for every instruction set. A column x of X is quantised once: s = max|x| / 8191,
// xq[c] = rint(x[c] * (8191 / max|x|)), all zeros if max|x| < 1e-30. Then, in float32 and without fused multiply-add,
//
//     t = 0;  for each group g, for each plane i:  t = t + alpha[i, g, r] * float(sum_{c in g} B_i[r, c] * xq[c])
//     y[r] = t * s + bias[r]
//
// The inner sum is an integer, so its order is free, and every implementation returns the same bits. |xq| <= 8191
// makes every signed sum of four inputs an int16; int32 sums hold for columns <= 2^17.
//
// Error against exact arithmetic: |dy[r]| <= s / 2 * columns * sum_i |alpha[i, r]| + float32 rounding, in practice
// 0.01 to 0.03 % of |y| for random codes; where x became zeros, all of y[r], which is below 1e-30 * columns *
// sum_i |alpha[i, r]|.
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

// Bytes of scratch memory for any number of products of `columns` inputs: the tables of the widest implementation, two
// columns of 288 bytes a chunk, and a padded column of int16.
constexpr size_t BcqMatmulScratchBytes(size_t columns) {
  return NumChunks(columns) * (size_t{2} * 288 + kChunkColumns * sizeof(int16_t)) + 64;
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
namespace neon {
BcqMatmulFunction BcqMatmul;
DequantizeRowFunction DequantizeRow;
}  // namespace neon

}  // namespace sub3

#endif  // SUB3_KERNELS_BCQ_MATMUL_H_
