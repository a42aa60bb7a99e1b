// Shared by the vector kernels of the int8 GEMM: the loops around the instruction set's inner parts.
//
// The codes of a tile of rows are unpacked to integers once and then multiplied with every column. From a few columns
// on this is cheaper than a look-up for each column and plane.

#ifndef SUB3_KERNELS_BCQ_INT8_TILES_H_
#define SUB3_KERNELS_BCQ_INT8_TILES_H_

#include <algorithm>

#include "kernels/products/bcq_int8_matmul.h"

namespace sub3 {

// A tile's rounded scales, by plane and row, and its codes: block b of plane i is planes[i] + b * chunks * 16.
struct Int8Tile {
  int32_t a[kMaxInt8Planes][kInt8TileRows];
  float rho[kInt8TileRows];
  const uint32_t* planes[kMaxInt8Planes];
  int num_planes;
  size_t num_blocks;
  size_t chunks;
  size_t width;  // inputs of a column, with its padding
};

// Rows [first, last) of the tile that begins at row `row`, of one product, for `n` columns from column j on.
struct Int8Output {
  const Product* product;
  size_t row, first, last;
  size_t j;

  float* At(size_t column) const { return product->y + (j + column) * product->y_stride + row; }
};

// A quantised column: its scale, and the sum of its integers where an instruction set needs it.
struct Int8Column {
  float s;
  int32_t sum;
};

// Isa provides:
//   using Input                                     an integer type: a quantised input
//   using Weight                                    an integer type: an unpacked weight
//   static constexpr size_t kChunksAtOnce           1 or 2; columns are padded to multiples of it
//   static void RoundScales(segment, row, tile)     a and rho of the tile, whose first row is `row`
//   static Int8Column Quantize(x, columns, chunks, xq)   one column of chunks * 32 inputs, padded with zeros
//   static void Unpack(tile, weights)               to kInt8TileRows * width weights, in the order Multiply wants
//   static void Multiply(tile, weights, xq, s, n, output)
//
// Of segments of at least `least_planes` planes, the columns [begin, n) of x.
template <class Isa>
void Int8Matmul(const Product* products, size_t num_products, int least_planes, const float* x, size_t x_stride,
                size_t columns, size_t begin, size_t n, void* scratch) {
  const size_t chunks = NumChunks(columns);
  const size_t padded = (chunks + Isa::kChunksAtOnce - 1) / Isa::kChunksAtOnce * Isa::kChunksAtOnce;
  const size_t width = padded * kChunkColumns;
  auto* weights = static_cast<typename Isa::Weight*>(scratch);
  auto* xq = reinterpret_cast<typename Isa::Input*>(weights + kInt8TileRows * width);
  Int8Column s[kInt8Columns];
  Int8Tile tile;
  tile.chunks = chunks;
  tile.width = width;
  for (size_t j = begin; j < n; j += kInt8Columns) {
    const size_t count = std::min(kInt8Columns, n - j);
    for (size_t c = 0; c < count; ++c) s[c] = Isa::Quantize(x + (j + c) * x_stride, columns, padded, xq + c * width);
    for (size_t p = 0; p < num_products; ++p) {
      const BcqMatrix& matrix = *products[p].weight;
      for (const BcqSegment& whole : matrix.segments) {
        if (whole.planes < least_planes) continue;
        const BcqSegment segment = products[p].Clip(whole);
        const size_t end = (segment.end + kBlockRows - 1) / kBlockRows;
        for (size_t block = segment.begin / kBlockRows; block < end; block += kInt8TileBlocks) {
          const size_t row = block * kBlockRows;
          tile.num_planes = segment.planes;
          tile.num_blocks = std::min(kInt8TileBlocks, end - block);
          for (int i = 0; i < segment.planes; ++i) tile.planes[i] = matrix.planes[i] + row * chunks;
          Isa::RoundScales(segment, row, &tile);
          Isa::Unpack(tile, weights);
          const size_t first = std::max(row, segment.begin) - row;
          const size_t last = std::min(row + kInt8TileRows, segment.end) - row;
          Isa::Multiply(tile, weights, xq, s, count, Int8Output{&products[p], row, first, last, j});
        }
      }
    }
  }
}

}  // namespace sub3

#endif  // SUB3_KERNELS_BCQ_INT8_TILES_H_
