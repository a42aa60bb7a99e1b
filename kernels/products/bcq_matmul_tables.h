// Shared by the look-up table kernels: the form of a table and the loops around the instruction set's inner part.
//
// A chunk of 32 inputs has eight tables of 16 entries, one for each four inputs; entry `key` is the signed sum of
// xq[k] (key bit k set) and -xq[k] (clear), plus 32768, so that it is an unsigned 16-bit number. Its two bytes lie
// apart, because byte look-ups are what the CPUs have. The 256 bytes of a chunk:
//
//     0    even tables (inputs 0-3, 8-11, 16-19, 24-27), low bytes      64   their high bytes
//     128  odd tables (inputs 4-7, 12-15, 20-23, 28-31), low bytes     192   their high bytes
//
// so that byte j of a code word looks its low nibble up in even table j and its high nibble in odd table j. AVX2 has
// tables of another form.

#ifndef SUB3_KERNELS_BCQ_MATMUL_TABLES_H_
#define SUB3_KERNELS_BCQ_MATMUL_TABLES_H_

#include <algorithm>

#include "kernels/products/bcq_matmul.h"

namespace sub3 {

constexpr size_t kTableBytesPerChunk = 256;
constexpr uint32_t kTableOffset = 32768;
constexpr uint32_t kOffsetPerChunk = 8 * kTableOffset;

// Isa provides:
//   static constexpr int kColumns                              columns that one pass over the codes serves
//   static constexpr size_t kBytesPerChunk                     of a column's tables, 288 at most
//   static float BuildTables(x, columns, chunks, xq, tables)   one column; returns s
//   template <int C> static void Segment(product, segment, tables, table_stride, s, y)
//                                                              y[C]: row 0 of each column's output
template <class Isa, int C>
void TableProducts(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns,
                   size_t j, uint8_t* tables, size_t table_stride, int16_t* xq) {
  const size_t chunks = NumChunks(columns);
  float s[C];
  for (int c = 0; c < C; ++c) {
    s[c] = Isa::BuildTables(x + (j + c) * x_stride, columns, chunks, xq, tables + c * table_stride);
  }
  for (size_t p = 0; p < num_products; ++p) {
    float* y[C];
    for (int c = 0; c < C; ++c) y[c] = products[p].y + (j + c) * products[p].y_stride;
    for (const BcqSegment& whole : products[p].weight->segments) {
      const BcqSegment segment = products[p].Clip(whole);
      Isa::template Segment<C>(products[p], segment, tables, table_stride, s, y);
    }
  }
}

// The columns [begin, n) of x.
template <class Isa>
void TableMatmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns,
                 size_t begin, size_t n, void* scratch) {
  const size_t chunks = NumChunks(columns);
  const size_t table_stride = chunks * Isa::kBytesPerChunk;
  auto* tables = static_cast<uint8_t*>(scratch);
  auto* xq = reinterpret_cast<int16_t*>(tables + Isa::kColumns * table_stride);
  size_t j = begin;
  for (; j + Isa::kColumns <= n; j += Isa::kColumns) {
    TableProducts<Isa, Isa::kColumns>(products, num_products, x, x_stride, columns, j, tables, table_stride, xq);
  }
  for (; j < n; ++j) {
    TableProducts<Isa, 1>(products, num_products, x, x_stride, columns, j, tables, table_stride, xq);
  }
}

}  // namespace sub3

#endif  // SUB3_KERNELS_BCQ_MATMUL_TABLES_H_
