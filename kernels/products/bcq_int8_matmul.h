// The product of binary codes with many columns, an int8 GEMM: weights and activations are quantised to int8, the
// weights once for all columns. For matrices of few planes (the encoder's), where it is faster than look-up tables.
//
// Contract, the same for every instruction set; Y, X and W as in bcq_matmul.h, one scale group for the whole row:
//
//     rho[r] = sum_i |alpha[i, r]| / 124
//     a[i, r] = rint(alpha[i, r] * (124 / sum_i |alpha[i, r]|)), 0 if that sum is 0
//     s = max|x| / 127;  xq[c] = rint(x[c] * (127 / max|x|)), all zeros if max|x| < 1e-30
//     y[r] = float(sum_c (sum_i a[i, r] * B_i[r, c]) * xq[c]) * rho[r] * s + bias[r]
//
// Up to six planes round to |W| <= 124 + 6 / 2 = 127. The sum is an integer, so that every implementation returns the
// same bits.
//
// Error: rounding the scales adds at most 0.3 / 124 of a row's largest weight for each plane (at four planes 1.4 % of
// the codes' own squared error); rounding x adds 0.5 to 1 % of a product.

#ifndef SUB3_KERNELS_BCQ_INT8_MATMUL_H_
#define SUB3_KERNELS_BCQ_INT8_MATMUL_H_

#include <algorithm>
#include <cstddef>

#include "kernels/products/bcq_matmul.h"

namespace sub3 {

constexpr int kMaxInt8Planes = 6;
constexpr float kMaxInt8Weight = 124;
constexpr float kMaxInt8Input = 127;
constexpr size_t kInt8Columns = 128;   // of X that share one unpacking of the weights
constexpr size_t kInt8TileBlocks = 4;  // of 16 rows that are unpacked together
constexpr size_t kInt8TileRows = kInt8TileBlocks * kBlockRows;

// Bytes of scratch memory for any number of products of n rows of `columns` inputs: a tile of unpacked weights and the
// quantised inputs; or subset sums.
constexpr size_t BcqInt8MatmulScratchBytes(size_t columns, size_t n) {
  const size_t width = (NumChunks(columns) + 1) / 2 * 2 * kChunkColumns;
  const size_t tile = width * (kInt8TileRows + std::min(n, kInt8Columns));
  return n < kSubsetColumns ? tile : std::max(tile, SubsetScratchBytes(columns));
}

namespace scalar {
BcqMatmulFunction BcqInt8Matmul;
}
namespace avx2 {
BcqMatmulFunction BcqInt8Matmul;
}
namespace avx2_vnni {
BcqMatmulFunction BcqInt8Matmul;
}
namespace avx512 {
BcqMatmulFunction BcqInt8Matmul;
}
namespace amx {
BcqMatmulFunction BcqInt8Matmul;
}
namespace neon {
BcqMatmulFunction BcqInt8Matmul;
}
namespace neon_dotprod {
BcqMatmulFunction BcqInt8Matmul;
}

}  // namespace sub3

#endif  // SUB3_KERNELS_BCQ_INT8_MATMUL_H_
