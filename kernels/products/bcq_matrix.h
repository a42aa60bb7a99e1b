// A matrix of binary codes, as every product reads it: row r of W is
//
//     W[r, c] = sum_{i < planes} alpha[i, group(c), r] * B_i[r, c],      B_i in {-1, +1},
//
// where the B_i are the planes and alpha the scales of docs/design.md, "Codes".

#ifndef SUB3_KERNELS_BCQ_MATRIX_H_
#define SUB3_KERNELS_BCQ_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sub3 {

constexpr int kMaxPlanes = 8;
constexpr size_t kBlockRows = 16;                // rows that lie interleaved in a plane
constexpr size_t kChunkColumns = 32;             // columns in a code word
constexpr size_t kMaxColumns = size_t{1} << 17;  // int32 sums of either product hold: 127 * 127 * 2^17 < 2^31

// Code words of a row of `columns` columns.
constexpr size_t NumChunks(size_t columns) { return (columns + kChunkColumns - 1) / kChunkColumns; }

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

// A view of a coded matrix; it owns no weights. planes[i] is uint32 [blocks, chunks, 16].
struct BcqMatrix {
  size_t rows = 0;
  size_t columns = 0;
  size_t chunks = 0;            // NumChunks(columns)
  size_t groups = 1;            // scale groups along the columns
  size_t chunks_per_group = 0;  // chunks if groups == 1
  const uint32_t* planes[kMaxPlanes] = {};
  std::vector<BcqSegment> segments;
};

// Tells whether the matrix has at most `max_planes` planes and one scale group a row, as the int8 GEMM needs it.
bool FitsInt8(const BcqMatrix& matrix, int max_planes);

// The segment of a row.
const BcqSegment& SegmentOf(const BcqMatrix& matrix, size_t row);

// The first code word of a row in a plane; its words are kBlockRows apart.
const uint32_t* WordsOf(const BcqMatrix& matrix, int plane, size_t row);

// The scale of a row of the segment.
float ScaleOf(const BcqMatrix& matrix, const BcqSegment& segment, int plane, size_t group, size_t row);

// Exact, for every number that float16 has.
float HalfToFloat(uint16_t half);

}  // namespace sub3

#endif  // SUB3_KERNELS_BCQ_MATRIX_H_
