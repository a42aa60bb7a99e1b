// The product with binary codes: Y[n, rows] = X[n, columns] W^T + bias, where row r of W is
//
//     W[r, c] = sum_{i < planes} alpha[i, group(c), r] * B_i[r, c],      B_i in {-1, +1}.
//
// Who is what: B_i are the planes and alpha the scales of docs/design.md, "Codes"; X are activations in float32.
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
// A second product, for matrices of few planes that meet many columns at once (the encoder's), trades digits of X for
// speed: W becomes integers of a byte, unpacked once for all columns, and X does too.
//
//     rho[r] = sum_i |alpha[i, r]| / 124
//     a[i, r] = rint(alpha[i, r] * (124 / sum_i |alpha[i, r]|)), 0 if that sum is 0
//     s = max|x| / 127;  xq[c] = rint(x[c] * (127 / max|x|)), all zeros if max|x| < 1e-30
//     y[r] = float(sum_c (sum_i a[i, r] * B_i[r, c]) * xq[c]) * rho[r] * s + bias[r]
//
// Up to six planes round to |W| <= 124 + 6 / 2 = 127. Again the sum is an integer, so that every implementation returns
// the same bits. Rounding the scales adds at most 0.3 / 124 of a row's largest weight for each plane (at four
// planes 1.4 % of the codes' own squared error); rounding x adds 0.5 to 1 % of a product. One scale group for the whole
// row.
//
// Shapes and alignment: X is row-major with any stride, Y likewise; codes and scales need the alignment of their type
// only (unaligned loads cost nothing measurable here). X and Y do not overlap.

#ifndef SUB3_KERNELS_BCQ_MATMUL_H_
#define SUB3_KERNELS_BCQ_MATMUL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sub3 {

constexpr int kMaxPlanes = 8;
constexpr size_t kBlockRows = 16;      // rows that lie interleaved in a plane
constexpr size_t kChunkColumns = 32;   // columns in a code word
constexpr float kMaxQuantized = 8191;  // four of them make an int16
constexpr float kSmallestMaximum = 1e-30f;
constexpr size_t kMaxColumns = size_t{1} << 17;  // 127 * 127 * 2^17 < 2^31
constexpr int kMaxInt8Planes = 6;
constexpr float kMaxInt8Weight = 124;
constexpr float kMaxInt8Input = 127;
constexpr size_t kInt8Columns = 128;  // of X that share one unpacking of the weights

// Rows [begin, end) that use the same number of planes. scales is float16 [planes, groups, scale_rows], its first row
// being scale_begin, a multiple of 16.
struct BcqSegment {
  size_t begin;
  size_t end;
  int planes;
  const uint16_t* scales;
  size_t scale_begin;
  size_t scale_rows;
};

// A view of a coded matrix; owns no weights. planes[i] is uint32 [blocks, chunks, 16].
struct BcqMatrix {
  size_t rows = 0;
  size_t columns = 0;
  size_t chunks = 0;            // ceil(columns / 32)
  size_t groups = 1;            // scale groups along the columns
  size_t chunks_per_group = 0;  // chunks when groups == 1
  const uint32_t* planes[kMaxPlanes] = {};
  std::vector<BcqSegment> segments;
};

// One of several products of the same X: Q, K and V share the quantised column and its tables. Of W only the rows
// [begin, end) are taken, both multiples of 16 but for W's last, and only their part of Y is written.
struct Product {
  const BcqMatrix* weight;
  const float* bias;  // [rows] or null
  float* y;           // [n, rows] with rows y_stride apart
  size_t y_stride;
  size_t begin, end;

  // The rows of a segment that are taken; none if its end is not above its begin.
  BcqSegment Taken(BcqSegment segment) const {
    segment.begin = std::max(segment.begin, begin);
    segment.end = std::min(segment.end, end);
    return segment;
  }
};

// Bytes of scratch memory for any number of products of `columns` inputs.
size_t BcqMatmulScratchBytes(size_t columns);

// All products of x, n rows x_stride apart, `columns` each. scratch: 64-byte aligned.
using BcqMatmulFunction = void (*)(const Product* products, size_t num_products, const float* x, size_t x_stride,
                                   size_t columns, size_t n, void* scratch);

// Row `row` of the matrix as float32 [columns]: sum_i alpha_i * B_i, plane by plane. The embedding look-up.
using DequantizeRowFunction = void (*)(const BcqMatrix& matrix, size_t row, float* out);

// Bytes of scratch memory for any number of int8 GEMMs of n rows of `columns` inputs.
size_t BcqInt8MatmulScratchBytes(size_t columns, size_t n);

// Whether the int8 GEMM can be had of a matrix of at most so many planes: one scale group a row.
bool FitsInt8(const BcqMatrix& matrix, int most_planes = kMaxInt8Planes);

namespace scalar {
void DequantizeRow(const BcqMatrix&, size_t, float*);
void BcqMatmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
void BcqInt8Matmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
}  // namespace scalar
namespace avx2 {
void DequantizeRow(const BcqMatrix&, size_t, float*);
void BcqMatmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
void BcqInt8Matmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
}  // namespace avx2
namespace avx2_vnni {
void BcqInt8Matmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
}
namespace avx512 {
void DequantizeRow(const BcqMatrix&, size_t, float*);
void BcqMatmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
void BcqInt8Matmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
}  // namespace avx512
namespace neon {
void DequantizeRow(const BcqMatrix&, size_t, float*);
void BcqMatmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
void BcqInt8Matmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
}  // namespace neon
namespace neon_dotprod {
void BcqInt8Matmul(const Product*, size_t, const float*, size_t, size_t, size_t, void*);
}

const BcqSegment& SegmentOf(const BcqMatrix& matrix, size_t row);

float HalfToFloat(uint16_t half);

}  // namespace sub3

#endif  // SUB3_KERNELS_BCQ_MATMUL_H_
